// Hostile, row C1: resources of one tenant that claim what is another's. All are in one folder, and those of the claimant come first in
// it. Only the claimant's own callers may be led by them.
import assert from "node:assert/strict";
import { mkdtemp, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { openResourceFolder } from "@culvert/shared/config/files-source.ts";
import { formatProblem } from "@culvert/shared/config/problem-text.ts";
import type { ResourceEvent, ResourceSource } from "@culvert/shared/config/resource-source.ts";
import { routing } from "@culvert/shared/config/routing/routing.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { resolve } from "@culvert/uproxy/outbound/resolve.ts";
import { stringify } from "yaml";
import { ip, TRUST_DOMAIN } from "../support/fixtures.ts";
import {
  authorizationPolicy,
  httpRoute,
  service,
  serviceEntry,
  workloadEntry,
  type Resource,
} from "../support/resources.ts";

const PORTS = [{ name: "http", port: 80 }];
const EVIL = { namespace: "evil" } as const;

/** The victim, in `default`. */
const VICTIM: readonly Resource[] = [
  service("reviews", PORTS, { clusterIP: "10.96.0.1" }),
  workloadEntry("reviews-1", "10.0.0.5", { app: "reviews", serviceAccount: "reviews" }),
  serviceEntry("partner", "api.partner.example", {
    resolution: "STATIC",
    ports: [{ number: 80, name: "http", protocol: "HTTP" }],
    endpoints: [{ address: "192.0.2.1" }],
  }),
];

/** The claimant's own workload, to which it would like the victim's traffic to go. */
const TRAP = workloadEntry("trap", "10.0.0.66", { ...EVIL, serviceAccount: "trap" });

interface Opened {
  readonly source: ResourceSource | undefined;
  readonly problems: readonly string[];
  readonly events: ResourceEvent[];
  readonly folder: string;
}

async function open(context: TestContext, claims: readonly Resource[]): Promise<Opened> {
  const folder = await mkdtemp(join(tmpdir(), "culvert-tenants-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const write = (name: string, resources: readonly Resource[]): Promise<void> =>
    writeFile(join(folder, name), resources.map((resource) => stringify(resource)).join("---\n"));
  await write("a-evil.yaml", [...claims, TRAP]);
  await write("victim.yaml", VICTIM);
  const events: ResourceEvent[] = [];
  const source = await openResourceFolder({
    folder,
    clock: new FakeClock(),
    onEvent: (event) => events.push(event),
    routing,
  });
  const isOpen = "get" in source;
  if (isOpen) context.after(() => source.close());
  const problems = isOpen ? source.get().problems : source;
  const texts = problems.map((problem) => formatProblem(problem).replaceAll(`${folder}/`, ""));
  return { source: isOpen ? source : undefined, problems: texts, events, folder };
}

/** Where a caller in a namespace is led: identities that must be proven, the address where none is, or the code of the refusal. */
function led(source: ResourceSource | undefined, namespace: string, to: string): readonly string[] {
  assert.ok(source !== undefined);
  const isAddress = /^[\d.]+$/.test(to);
  const destination = isAddress
    ? ({ kind: "ip", ip: ip(to), port: 80 } as const)
    : ({ kind: "name", host: to, port: 80 } as const);
  const hop = resolve(source.get(), { namespace, trustDomain: TRUST_DOMAIN }, destination, "refuse");
  if (isFailure(hop)) return [hop.code];
  if (hop.kind === "passthrough") return ["passthrough"];
  return hop.endpoints.map((endpoint) => endpoint.expected.join() || endpoint.ip);
}

const REVIEWS = ["spiffe://cluster.local/ns/default/sa/reviews"];
const entry = (host: string, more: object = {}): Resource =>
  serviceEntry(
    "claim",
    host,
    {
      resolution: "STATIC",
      location: "MESH_INTERNAL",
      ports: [{ number: 80, name: "http", protocol: "HTTP" }],
      endpoints: [{ address: "10.0.0.66", serviceAccount: "trap" }],
      ...more,
    },
    EVIL,
  );

describe("a claim leads nobody else astray", () => {
  for (const host of [
    "reviews.default.svc.cluster.local",
    "reviews.default.svc",
    "reviews.default",
    "*.default.svc.cluster.local",
  ]) {
    test(`a ServiceEntry for ${host}`, async (context) => {
      const { source } = await open(context, [entry(host)]);
      for (const namespace of ["default", "shop", "evil"]) {
        assert.deepEqual(led(source, namespace, "reviews.default.svc.cluster.local"), REVIEWS);
        assert.deepEqual(led(source, namespace, "10.96.0.1"), REVIEWS);
      }
    });
  }

  test("a ServiceEntry for the short name of a Service", async (context) => {
    const { source } = await open(context, [entry("reviews")]);
    assert.deepEqual(led(source, "default", "reviews"), REVIEWS);
  });

  test("a ServiceEntry for the address of a Service, or for a block around it", async (context) => {
    for (const addresses of [["10.96.0.1"], ["10.96.0.0/16"], ["10.0.0.0/24"]]) {
      const { source } = await open(context, [entry("claim.example", { addresses })]);
      for (const namespace of ["default", "shop", "evil"]) {
        assert.deepEqual(led(source, namespace, "10.96.0.1"), REVIEWS);
        assert.deepEqual(led(source, namespace, "10.0.0.5"), REVIEWS);
      }
    }
  });

  test("a ServiceEntry for the host of another tenant's", async (context) => {
    const { source } = await open(context, [entry("api.partner.example")]);
    assert.deepEqual(led(source, "default", "api.partner.example"), ["192.0.2.1"]);
    assert.deepEqual(led(source, "evil", "api.partner.example"), ["spiffe://cluster.local/ns/evil/sa/trap"]);
  });

  test("a workload with the labels that the Service selects", async (context) => {
    const { source } = await open(context, [
      workloadEntry("reviews-2", "10.0.0.67", { ...EVIL, app: "reviews", serviceAccount: "trap" }),
    ]);
    assert.deepEqual(led(source, "default", "reviews"), REVIEWS);
  });

  test("a route on another tenant's Service is for the claimant's own callers", async (context) => {
    const parent = { group: "", kind: "Service", name: "reviews", namespace: "default" };
    const claim = httpRoute("claim", "reviews", [{ backendRefs: [{ name: "trap", port: 80 }] }], EVIL);
    const { source } = await open(context, [
      { ...claim, spec: { parentRefs: [parent], rules: [{ backendRefs: [{ name: "trap", port: 80 }] }] } },
      service("trap", PORTS, EVIL),
    ]);
    const [route] = source?.get().routes ?? [];
    // A waypoint asks for the routes of the caller's namespace first, and then for those of the Service's: see docs/routing.md.
    assert.equal(route?.namespace, "evil");
    assert.equal(source?.get().routes.length, 1);
  });

  test("a policy on another tenant's Service denies in its own namespace at most", async (context) => {
    const claim = authorizationPolicy("claim", "DENY", { service: "reviews" }, [{}], EVIL);
    const targetRefs = [{ group: "", kind: "Service", name: "reviews", namespace: "default" }];
    const { source, problems } = await open(context, [{ ...claim, spec: { action: "DENY", targetRefs, rules: [{}] } }]);
    const [policy] = source?.get().policies ?? [];
    assert.equal(policy?.namespace, "evil");
    assert.match(
      problems[0] ?? "",
      /^a-evil\.yaml:\d+: spec\.targetRefs\[0\]\.namespace: only the policy's own namespace/,
    );
  });
});

describe("a claim that cannot be told from the truth refuses the folder", () => {
  test("a Service with the address of another", async (context) => {
    const { source, problems } = await open(context, [service("claim", PORTS, { ...EVIL, clusterIP: "10.96.0.1" })]);
    assert.equal(source, undefined);
    assert.deepEqual(problems, [
      "victim.yaml:1: spec.clusterIP: 10.96.0.1 is already taken by the Service at a-evil.yaml:1 (Service default/reviews)",
    ]);
  });

  test("a Service of the same name and namespace", async (context) => {
    const { source, problems } = await open(context, [service("reviews", PORTS)]);
    assert.equal(source, undefined);
    assert.match(problems[0] ?? "", /^victim\.yaml:1: metadata\.name: is there twice, first at a-evil\.yaml:1/);
  });
});

test("a folder that goes back to what it was before is news, whatever the clock of its files says", async (context) => {
  const { source, events, folder } = await open(context, []);
  assert.ok(source !== undefined);
  const file = join(folder, "a-evil.yaml");
  const put = async (text: string, secondsAgo: number): Promise<void> => {
    // In its place whole, so that no read that happens to run sees it empty.
    await writeFile(`${file}.tmp`, text);
    const then = systemClock.now() / 1_000 - secondsAgo;
    await utimes(`${file}.tmp`, then, then);
    await rename(`${file}.tmp`, file);
    await source.reload();
  };
  const names = (): readonly string[] => [...source.get().directory.workloads()].map(({ name }) => name);
  const old = stringify(TRAP);
  await put(stringify(workloadEntry("newer", "10.0.0.67", { ...EVIL, serviceAccount: "trap" })), 0);
  assert.deepEqual(names(), ["newer", "reviews-1"]);
  await put("kind: [", 1);
  assert.deepEqual(names(), ["newer", "reviews-1"]);
  await put(old, 86_400);
  assert.deepEqual(names(), ["trap", "reviews-1"]);
  assert.equal(source.get().version, 3);
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["swapped", "swapped", "kept", "swapped"],
  );
});
