import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import { id, ip, routeBackend, service, serviceEntry, servicePort, workload } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { SELF, snapshot, waypointInstance } from "../mesh-fixtures.ts";
import { MeshView } from "./view.ts";

const behind = { waypoint: SELF.gateway };
const places = ["192.0.2.21", "192.0.2.22"].map((address, index) =>
  workload(`api#${index}`, { addresses: [address], protocol: "none", ports: { tls: 8443 } }),
);
const everywhere = { resolution: "none", cidrs: ["0.0.0.0/0", "::/0"] } as const;
const view = new MeshView(
  snapshot({
    workloads: [waypointInstance("10.0.0.9"), workload("other-1", { addresses: ["10.0.0.5"] })],
    services: [
      service("reviews", { vips: ["10.96.0.5"] }),
      serviceEntry("api", "api.example.com", { endpoints: places }, behind),
      serviceEntry("wild", "*.example.org", { endpoints: places }, behind),
      serviceEntry("web", "web.example.net", everywhere, {
        ...behind,
        ports: [servicePort("tls", 443), servicePort("own", 15008)],
      }),
      serviceEntry("below", "*.example.edu", { resolution: "none" }, behind),
      serviceEntry("straight", "straight.example.com", { endpoints: places }),
      serviceEntry("broken", "broken.example.com", { notUnderstood: "why" }, behind),
      serviceEntry("private", "private.example.com", { endpoints: places, exportedTo: ["shop"] }, behind),
    ],
  }),
  SELF,
);

/** Where connections to an authority may go: addresses, or the code of the refusal. */
function targets(authority: string, namespace: string | undefined = "default"): string {
  const caller = { id: id(`${namespace ?? "x"}/curl`), namespace };
  const destination = view.destination(must(parseAuthority(authority)), caller);
  if (isFailure(destination)) return destination.code;
  const group = view.group(destination);
  return isFailure(group) ? group.code : group.endpoints.map(({ address }) => address).join(" ");
}

const rows: readonly [string, string, string][] = [
  ["a host leads to the endpoints of its entry", "api.example.com:443", "192.0.2.21:8443 192.0.2.22:8443"],
  ["a name below a wildcard as well", "x.example.org:443", "192.0.2.21:8443 192.0.2.22:8443"],
  ["an endpoint's own address leads there alone", "192.0.2.22:8443", "192.0.2.22:8443"],
  ["an address of a block is dialled as it is", "203.0.113.7:443", "203.0.113.7:443"],
  ["a port that is not listed is unknown", "api.example.com:80", "DESTINATION_UNKNOWN"],
  ["a name with resolution NONE is resolved when it is connected to", "web.example.net:443", "web.example.net:443"],
  ["so is each name below a wildcard", "a.b.example.edu:443", "a.b.example.edu:443"],
  ["an address without a block is in no wildcard", "203.0.113.8:8443", "DESTINATION_UNKNOWN"],
  ["the tunnel ports of others by name", "web.example.net:15008", "SELF_CALL"],
  ["an entry without this waypoint is not served", "straight.example.com:443", "DESTINATION_UNKNOWN"],
  ["an entry that is not understood lets nobody through", "broken.example.com:443", "EGRESS_REFUSED"],
  ["an entry for another namespace is not there", "private.example.com:443", "DESTINATION_UNKNOWN"],
  ["this host is in no block", "127.0.0.1:443", "SELF_CALL"],
  ["nor are the credentials of the cloud", "169.254.169.254:443", "SELF_CALL"],
  ["nor the tunnel ports of others", "203.0.113.7:15008", "SELF_CALL"],
  ["nor this waypoint", "10.0.0.9:443", "SELF_CALL"],
  ["a workload in a block is a workload, and has no waypoint", "10.0.0.5:443", "DESTINATION_UNKNOWN"],
];
for (const [name, authority, expected] of rows) test(name, () => assert.equal(targets(authority), expected));

test("a name leads outside, and to no place of the mesh", () => {
  const destination = must(
    view.destination(must(parseAuthority("a.example.edu:443")), { id: undefined, namespace: "default" }),
  );
  const [endpoint] = must(view.group(destination)).endpoints;
  assert.equal(endpoint?.reach.kind, "name");
  const { isOutside } = endpoint.reach;
  for (const outside of ["203.0.113.7", "10.1.2.3", "2001:db8::1"]) assert.ok(isOutside(ip(outside)), outside);
  // This host, the credentials of the cloud, a workload, this waypoint, a Service, a virtual address.
  const inside = ["127.0.0.1", "::1", "169.254.169.254", "10.0.0.5", "10.0.0.9", "10.96.0.5", "241.1.2.3"];
  for (const address of inside) assert.ok(!isOutside(ip(address)), address);
});

test("what is there for a namespace is there for its callers", () => {
  assert.equal(targets("private.example.com:443", "shop"), "192.0.2.21:8443 192.0.2.22:8443");
  assert.equal(targets("private.example.com:443", undefined), "DESTINATION_UNKNOWN");
});

/** Where a route of a namespace that names a host leads, or why not. */
function routed(name: string, port = 443, namespace = "default"): string {
  const group = view.backend(routeBackend(`${namespace}/${name}`, port, { kind: "host" }));
  return isFailure(group) ? group.detail : group.endpoints.map(({ address }) => address).join(" ");
}

test("a route may lead to a host, as its namespace sees it", () => {
  assert.equal(routed("straight.example.com"), "192.0.2.21:8443 192.0.2.22:8443");
  assert.equal(routed("x.example.edu"), "x.example.edu:443");
  assert.equal(routed("private.example.com", 443, "shop"), "192.0.2.21:8443 192.0.2.22:8443");
  assert.equal(routed("private.example.com"), "there is no host private.example.com");
  assert.equal(routed("straight.example.com", 80), "host straight.example.com has no port 80");
  assert.equal(routed("broken.example.com"), "host broken.example.com is of a ServiceEntry: why");
});

test("policies that name the entry stand before each of its hosts", () => {
  const policies = [
    {
      uid: "default/p",
      namespace: "default",
      name: "p",
      action: "DENY",
      dryRun: false,
      target: { kind: "refs", refs: [{ kind: "ServiceEntry", name: "api" }] },
      rules: [{ from: [], to: [] }],
      notUnderstood: undefined,
    },
  ] as const;
  const guarded = new MeshView({ ...view.snapshot, policies }, SELF);
  const denied = (authority: string): number => {
    const destination = must(
      guarded.destination(must(parseAuthority(authority)), { id: undefined, namespace: "default" }),
    );
    return guarded.guard(destination).policies.reduce((sum, { deny }) => sum + deny.length, 0);
  };
  assert.equal(denied("api.example.com:443"), 1);
  assert.equal(denied("x.example.org:443"), 0);
});
