import assert from "node:assert/strict";
import { test } from "node:test";
import { ResourceIndex } from "@culvert/shared/config/scope/resource-index.ts";
import { destinationScope } from "@culvert/shared/config/scope/destination-scope.ts";
import { ownScope } from "@culvert/shared/config/scope/own-scope.ts";
import {
  ASKED_HOSTS,
  ASKED_IPS,
  forMeshes,
  NAMESPACES,
  snapshotOf,
} from "@culvert/shared/config/scope/mesh-fixtures.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseSpiffeId, parseTrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { must } from "@culvert/test/support/must.ts";
import { meshAddresses } from "../dns/mesh-names.ts";
import { deriveState, judge } from "../state.ts";
import type { Destination } from "./hop.ts";
import { resolve } from "./resolve.ts";

const DOMAIN = must(parseTrustDomain("cluster.local"));
const RUNS = 150;

function answers(snapshot: Snapshot, namespace: string, destination: Destination): unknown {
  const self = { namespace, trustDomain: DOMAIN, network: "" };
  const hop = resolve(snapshot, self, destination, "refuse");
  if (isFailure(hop)) return [hop.code, hop.detail];
  const names =
    destination.kind === "ip"
      ? undefined
      : meshAddresses(destination.host, {
          directory: snapshot.directory,
          namespace,
          families: new Set([4, 6]),
          isCaptured: true,
          standIns: new Map(),
        });
  if (hop.kind === "passthrough") return [hop, names];
  // Whether a workload lets others in than its waypoint is for its own uproxy to know.
  const endpoints = hop.endpoints.map((endpoint) =>
    Object.assign({}, endpoint, { workload: Object.assign({}, endpoint.workload, { requireWaypoint: false }) }),
  );
  return [
    hop.service,
    hop.waypoint,
    hop.shares?.map(({ weight, endpoints: of }) => [weight, of.length]),
    endpoints,
    names,
  ];
}

test("a connection finds its way in the scope of its destination as in the whole mesh", () => {
  forMeshes(RUNS, (all) => {
    const index = new ResourceIndex(all.resources);
    const whole = snapshotOf(all);
    for (const namespace of NAMESPACES) {
      const asked: Destination[] = [80, 81].flatMap((port): Destination[] =>
        ASKED_HOSTS.map((host): Destination => ({ kind: "name", host, port })).concat(
          ASKED_IPS.map((ip) => ({ kind: "ip", ip, port })),
        ),
      );
      for (const destination of asked) {
        const key = destination.kind === "ip" ? `ip/${destination.ip}` : `host/${destination.host}`;
        const small = snapshotOf(all, destinationScope(index, namespace, key));
        assert.deepEqual(
          answers(small, namespace, destination),
          answers(whole, namespace, destination),
          `${key} for ${namespace}`,
        );
      }
    }
  });
});

test("a workload judges its callers by its own scope as by the whole mesh", () => {
  forMeshes(RUNS, (all, pick) => {
    const isNamed = pick % 2 === 0;
    const index = new ResourceIndex(all.resources);
    const whole = snapshotOf(all);
    for (const own of ["shop", "pay"].flatMap((ns) => ["cart", "web"].map((sa) => `${ns}/sa/${sa}`))) {
      const id = must(parseSpiffeId(`spiffe://cluster.local/ns/${own}`));
      const [namespace = ""] = own.split("/");
      const configured = isNamed ? { namespace, name: "shop-1" } : undefined;
      const addresses = [must(parseIp("10.0.0.1"))];
      const hints = { workload: configured === undefined ? undefined : `${namespace}/shop-1`, addresses };
      const small = snapshotOf(all, ownScope(index, id, hints));
      const identity = { svid: { id }, aliases: new Set() } as unknown as Identity;
      const [few, many] = [small, whole].map((snapshot) => deriveState(snapshot, identity, { configured, addresses }));
      assert.ok(few !== undefined && many !== undefined);
      if (isFailure(many.workload)) {
        assert.ok(isFailure(few.workload));
        continue;
      }
      assert.deepEqual(few.workload, many.workload);
      assert.deepEqual(few.requiredCallers, many.requiredCallers);
      for (const from of ["shop/sa/cart", "pay/sa/web", undefined]) {
        for (const destinationPort of [80, 81]) {
          const facts: ConnectionFacts = {
            principal: from === undefined ? undefined : must(parseSpiffeId(`spiffe://cluster.local/ns/${from}`)),
            sourceIp: must(parseIp("10.9.9.9")),
            destinationIp: many.workload.addresses[0],
            destinationPort,
          };
          assert.deepEqual(judge(few, facts), judge(many, facts));
        }
      }
      const services = (snapshot: Snapshot): unknown =>
        isFailure(many.workload) ? [] : snapshot.directory.servicesOf(many.workload);
      assert.deepEqual(services(small), services(whole));
    }
  });
});
