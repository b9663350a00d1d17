import assert from "node:assert/strict";
import { test } from "node:test";
import { ip } from "@culvert/test/support/fixtures.ts";
import type { Ip } from "../net/ip.ts";
import { buildSnapshot } from "./build.ts";
import { brief, parseText } from "./resources/text-fixtures.ts";
import { routing } from "./routing/routing.ts";

const entry = (name: string, spec: string): string => `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {${spec}}
`;

const REST = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: culvert-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: api}], rules: [{}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: a.example.com}]}
`;

test("a ServiceEntry is a service for each of its hosts, with the addresses of its names", () => {
  const names = new Map<string, readonly Ip[]>([
    ["a.example.com", [ip("192.0.2.1"), ip("2001:db8::1")]],
    ["b.example.com", [ip("192.0.2.2")]],
  ]);
  const text =
    entry("api", "hosts: [a.example.com, b.example.com], ports: [{number: 443, name: tls}], resolution: DNS") +
    entry("again", "hosts: [b.example.com, c.example.com]") +
    entry(
      "inside",
      "hosts: [d.example.com], location: MESH_INTERNAL, resolution: STATIC, endpoints: [{address: 10.0.0.7}]",
    ) +
    REST;
  const { directory, problems } = buildSnapshot(1, parseText(text), (host) => names.get(host) ?? [], routing);
  assert.deepEqual(brief(problems), [
    "- 7: spec.hosts: b.example.com is already in that at f.yaml:2",
    "- 27: spec.parentRefs: there is no Service shop/a.example.com",
  ]);
  const addresses = (host: string): readonly string[] => {
    const found = directory.serviceByHost(host, "web");
    assert.ok(found !== undefined);
    assert.deepEqual(found.waypoint, { namespace: "shop", name: "waypoint" });
    return directory.endpoints(found).map((place) => `${place.protocol} ${place.addresses.join()}`);
  };
  assert.deepEqual(addresses("a.example.com"), ["none 192.0.2.1,2001:db8::1"]);
  assert.deepEqual(addresses("b.example.com"), ["none 192.0.2.2"]);
  assert.deepEqual(addresses("c.example.com"), []);
  assert.deepEqual(addresses("d.example.com"), ["hbone 10.0.0.7"]);
});
