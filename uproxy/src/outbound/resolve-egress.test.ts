import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import {
  id,
  ip,
  service,
  serviceEntry,
  servicePort,
  snapshot,
  TRUST_DOMAIN,
  waypoint,
  workload,
} from "@culvert/test/support/fixtures.ts";
import type { Destination } from "./hop.ts";
import { resolve } from "./resolve.ts";

const gateway = { namespace: "default", name: "egress" };
const brokers = ["192.0.2.21", "192.0.2.22"].map((address, index) =>
  workload(`kafka#${index}`, { addresses: [address], protocol: "none", ports: { tcp: 9093 } }),
);
const mesh = snapshot({
  workloads: [
    workload("db-1", { addresses: ["10.0.0.5"], labels: { app: "db" } }),
    workload("inside", { addresses: ["198.51.100.9"] }),
    workload("egress-1", {
      addresses: ["10.0.0.20"],
      labels: { "gateway.networking.k8s.io/gateway-name": "egress" },
      serviceAccount: "egress",
    }),
  ],
  services: [
    service("reviews"),
    serviceEntry("kafka", "kafka.example.com", { endpoints: brokers }, { ports: [servicePort("tcp", 9092)] }),
    serviceEntry("web", "*.example.org", { resolution: "none", cidrs: ["198.51.100.0/24"] }),
    serviceEntry("db", "db.mesh.internal", { location: "internal" }, { selector: new Map([["app", "db"]]) }),
    serviceEntry("broken", "broken.example.com", { notUnderstood: "f.yaml:3: spec.x: no" }),
    serviceEntry("unresolved", "unresolved.example.com", { resolution: "dns", endpoints: [workload("u#0")] }),
    serviceEntry("private", "private.example.com", { resolution: "none", exportedTo: ["other"] }),
    serviceEntry("guarded", "api.example.net", { endpoints: brokers.slice(0, 1) }, { waypoint: gateway }),
    serviceEntry(
      "guarded-web",
      "*.example.net",
      { resolution: "none", cidrs: ["203.0.113.0/24"] },
      { waypoint: gateway },
    ),
  ],
  waypoints: [waypoint("egress")],
});
const self = { namespace: "default", trustDomain: TRUST_DOMAIN };

function to(host: string, port: number): Destination {
  return /^[\d.]+$/.test(host) ? { kind: "ip", ip: ip(host), port } : { kind: "name", host, port };
}

/** `plain ADDRESS`, `tunnel ADDRESS for AUTHORITY` for each endpoint, `pass ADDRESS`, or the code of the refusal. */
function hop(host: string, port: number): string {
  const found = resolve(mesh, self, to(host, port), "refuse");
  if (isFailure(found)) return found.code;
  if (found.kind === "passthrough") return `pass ${found.host}:${found.port} by ${found.service?.hostname}`;
  return found.endpoints
    .map(({ ip: at, port: dialled, authority }) =>
      authority === undefined ? `plain ${at}:${dialled}` : `tunnel ${at}:${dialled} for ${authority}`,
    )
    .join(", ");
}

const rows: readonly [string, string, number, string][] = [
  ["STATIC by host: its endpoints", "kafka.example.com", 9092, "plain 192.0.2.21:9093, plain 192.0.2.22:9093"],
  ["STATIC by an endpoint's own address: that endpoint", "192.0.2.22", 9093, "plain 192.0.2.22:9093"],
  ["an endpoint's address at a port that is not listed", "192.0.2.22", 22, "EGRESS_REFUSED"],
  ["a port that is not listed", "kafka.example.com", 22, "EGRESS_REFUSED"],
  ["NONE by host: as it was asked for", "www.example.org", 443, "pass www.example.org:443 by *.example.org"],
  ["NONE by an address of its block", "198.51.100.7", 443, "pass 198.51.100.7:443 by *.example.org"],
  ["NONE at a port that is not listed", "198.51.100.7", 80, "EGRESS_REFUSED"],
  ["an address outside its block", "198.51.101.7", 443, "EGRESS_REFUSED"],
  [
    "a workload inside a block stays in the mesh",
    "198.51.100.9",
    443,
    "tunnel 198.51.100.9:15008 for 198.51.100.9:443",
  ],
  ["workloads that a selector finds", "db.mesh.internal", 443, "tunnel 10.0.0.5:15008 for 10.0.0.5:443"],
  ["what is not understood", "broken.example.com", 443, "EGRESS_REFUSED"],
  ["a name that could not be resolved", "unresolved.example.com", 443, "NO_HEALTHY_UPSTREAM"],
  ["what is there for another namespace", "private.example.com", 443, "EGRESS_REFUSED"],
  ["a waypoint, by host", "API.example.net.", 443, "tunnel 10.0.0.20:15008 for api.example.net:443"],
  ["a waypoint, a name below the wildcard", "x.example.net", 443, "tunnel 10.0.0.20:15008 for x.example.net:443"],
  ["a waypoint, by address", "203.0.113.7", 443, "tunnel 10.0.0.20:15008 for 203.0.113.7:443"],
];
for (const [name, host, port, expected] of rows) test(name, () => assert.equal(hop(host, port), expected));

test("what is not understood is refused even where the unknown passes", () => {
  const found = resolve(mesh, self, to("broken.example.com", 443), "passthrough");
  assert.ok(isFailure(found));
  assert.match(found.toString(), /ServiceEntry default\/broken .* f\.yaml:3: spec\.x: no/);
});

test("the waypoint of an entry must prove itself", () => {
  const found = resolve(mesh, self, to("api.example.net", 443), "refuse");
  assert.ok(!isFailure(found) && found.kind === "tunnel");
  assert.equal(found.waypoint?.name, "egress");
  assert.deepEqual(found.endpoints[0].expected, [id("default/egress")]);
  assert.equal(found.service?.hostname, "api.example.net");
});

test("says each step of its reasoning", () => {
  const steps: string[] = [];
  resolve(mesh, self, to("192.0.2.22", 9093), "refuse", (step) => steps.push(step));
  resolve(mesh, self, to("198.51.100.7", 443), "refuse", (step) => steps.push(step));
  assert.deepEqual(steps, [
    "192.0.2.22:9093 is an endpoint of port 9092 of ServiceEntry default/kafka (kafka.example.com)",
    "endpoint default/kafka#0 at 192.0.2.21:9093, plain TCP (not in the mesh)",
    "endpoint default/kafka#1 at 192.0.2.22:9093, plain TCP (not in the mesh)",
    "198.51.100.7:443 is in a block of ServiceEntry default/web (*.example.org)",
    "resolution NONE: the connection goes on to where it was made to",
  ]);
});
