import assert from "node:assert/strict";
import { test } from "node:test";
import { waypointResources } from "@culvert/shared/config/scope/held-resources.ts";
import {
  ASKED_HOSTS,
  ASKED_IPS,
  forMeshes,
  NAMESPACES,
  snapshotOf,
} from "@culvert/shared/config/scope/mesh-fixtures.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseSpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import { must } from "@culvert/test/support/must.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import { SELF } from "../mesh-fixtures.ts";
import { MeshView } from "./view.ts";
import { ConnectionGuard } from "./guard.ts";
import { isOutside } from "./destination.ts";

/** Everything that a caller of a namespace gets to see of one authority. */
function answers(view: MeshView, authority: string, namespace: string): unknown {
  const id = must(parseSpiffeId(`spiffe://cluster.local/ns/${namespace}/sa/caller`));
  const parsed = must(parseAuthority(authority));
  const destination = view.destination(parsed, { id, namespace });
  // A refusal that names what is none of this waypoint's business need not name it here.
  if (isFailure(destination)) return destination.code === "SELF_CALL" ? "DESTINATION_UNKNOWN" : destination.code;
  const facts = { principal: id, sourceIp: must(parsedIp("10.9.9.9")), destinationIp: undefined, destinationPort: 80 };
  const guard = new ConnectionGuard(view.guard(destination), facts);
  const routes = view.routes(destination, namespace);
  const streams = view.streamRoutes(destination, namespace);
  const group = view.group(destination);
  // With its other parents a route may compete there with what is none of this waypoint's business.
  const backends = [...view.snapshot.routes, ...view.snapshot.streamRoutes]
    .map((route) => {
      const here = route.parents.filter((each) => destination.kind === "service" && isOf(each, destination.service));
      return Object.assign({}, route, { parents: here });
    })
    .filter(({ parents }) => parents.length > 0)
    .map((route) => [
      route,
      route.rules
        .flatMap((rule): readonly Parameters<MeshView["backend"]>[0][] => rule.backends)
        .filter(({ invalid }) => invalid === undefined)
        .map((backend) => endpointsOf(view.backend(backend))),
    ]);
  return {
    destination,
    decision: guard.decideRequest({ method: "GET", host: "x", path: "/" }),
    isRouted: [routes !== undefined, streams !== undefined],
    group: endpointsOf(group),
    backends,
  };
}

function endpointsOf(group: ReturnType<MeshView["group"]>): unknown {
  return isFailure(group)
    ? [group.code, group.detail]
    : group.endpoints.map(({ ip, port }) => formatHostPort(String(ip), port));
}

function isOf(
  parent: { readonly namespace: string; readonly name: string; readonly kind: string },
  service: { readonly namespace: string; readonly name: string; readonly entry: { readonly name: string } | undefined },
): boolean {
  const name = service.entry?.name ?? service.name;
  const kind = service.entry === undefined ? "service" : "entry";
  return parent.namespace === service.namespace && parent.name === name && parent.kind === kind;
}

function parsedIp(text: string): (typeof ASKED_IPS)[number] | undefined {
  const authority = parseAuthority(`${text}:1`);
  return isFailure(authority) || authority.kind !== "ip" ? undefined : authority.host;
}

test("a waypoint answers from its scope as from the whole mesh", () => {
  forMeshes(150, (all) => {
    for (const gateway of [
      { namespace: "shop", name: "wp" },
      { namespace: "pay", name: "canary" },
    ]) {
      const self = { ...SELF, gateway };
      const small = new MeshView(snapshotOf(waypointResources(all, gateway)), self);
      const whole = new MeshView(snapshotOf(all), self);
      for (const host of [...ASKED_HOSTS, ...ASKED_IPS]) {
        for (const namespace of NAMESPACES) {
          const authority = `${host}:80`;
          const message = `${authority} for ${namespace} at ${gateway.namespace}/${gateway.name}`;
          assert.deepEqual(answers(small, authority, namespace), answers(whole, authority, namespace), message);
        }
      }
      // Only one that lets out what no resource names asks this, and must not be wrong.
      const lets = [...whole.snapshot.directory.services()].some(
        ({ entry, waypoint }) =>
          entry?.resolution === "none" && whole.snapshot.directory.mayStandFor(gateway, waypoint),
      );
      if (!lets) continue;
      for (const ip of ASKED_IPS) {
        assert.equal(isOutside(small.snapshot.directory, ip), isOutside(whole.snapshot.directory, ip), ip);
      }
    }
  });
});
