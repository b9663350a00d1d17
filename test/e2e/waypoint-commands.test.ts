// The commands of the waypoint as its users meet them: what is right says so, what is wrong names place and expectation and ends with the
// promised code.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { parse } from "yaml";
import { spiffeId } from "../support/identities.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { unready } from "../support/unready.ts";
import type { Result } from "../support/process.ts";
import { runProgram, writeResources } from "../support/programs.ts";
import {
  authorizationPolicy,
  httpRoute,
  service,
  waypoint,
  workloadEntry,
  type Resource,
} from "../support/resources.ts";

function cli(...args: readonly string[]): Promise<Result> {
  return runProgram("waypoint", args);
}

const HTTP = 8000;
const USE = { "istio.io/use-waypoint": "waypoint" };
const FROM = spiffeId("client");

/** A mesh of which nothing but the waypoint has to run. */
const RESOURCES = (address: string): readonly Resource[] => [
  service("shop", [{ name: "http", port: HTTP, targetPort: 8080, appProtocol: "http" }], { labels: USE }),
  service("beta", [{ name: "http", port: HTTP, targetPort: 8080, appProtocol: "http" }]),
  workloadEntry("shop", "10.0.0.5", { serviceAccount: "shop" }),
  workloadEntry("beta", "10.0.0.6", { serviceAccount: "beta" }),
  ...waypoint("waypoint", address, { serviceAccount: "waypoint" }),
  authorizationPolicy("no-delete", "DENY", { service: "shop" }, [{ to: [{ operation: { methods: ["DELETE"] } }] }]),
  authorizationPolicy("for-client", "ALLOW", { service: "shop" }, [
    { from: [{ source: { principals: [FROM.slice("spiffe://".length)] } }] },
  ]),
];

const ROUTE = (...backends: readonly object[]): Resource =>
  httpRoute("shop", "shop", [
    {
      name: "canary",
      matches: [{ headers: [{ name: "x-canary", value: "yes" }] }],
      backendRefs: [{ name: "beta", port: HTTP }],
    },
    { name: "main", backendRefs: backends },
  ]);

describe("the commands of a waypoint", () => {
  let mesh: Mesh;
  let running: Proxy;
  let config: string;

  before(async () => {
    mesh = await startMesh();
    const address = mesh.address();
    mesh.write("mesh", RESOURCES(address));
    mesh.write("routes", [ROUTE({ name: "shop", port: HTTP, weight: 3 }, { name: "nowhere", port: 1 })]);
    running = await mesh.waypoint({ name: "waypoint", address, gateway: "waypoint" });
    config = join(mesh.folder, "waypoint.yaml");
  });

  after(() => mesh.stop());

  for (const [what, question, expected] of [
    [
      "a request by its route",
      [`GET http://shop:${HTTP}/a/../x`],
      [/ GET \/x,/, /main/, /75 % .*default\/shop/, /25 % 500, BACKEND_INVALID/],
    ],
    [
      "a request with a header",
      [`GET http://shop:${HTTP}/x`, "-H", "x-canary: yes"],
      [/canary/, /=> 100 % .*default\/beta/],
    ],
    ["a request that is denied", [`DELETE http://shop:${HTTP}/x`], [/=> 403, DENIED_BY_POLICY/, /default\/no-delete/]],
    ["a request to the waypoint itself", ["GET http://WAYPOINT/x"], [/=> 503, SELF_CALL/]],
    ["a request to elsewhere", ["GET http://elsewhere:80/"], [/=> 404, DESTINATION_UNKNOWN/]],
  ] as const) {
    test(`explain follows ${what}, offline and of the running process alike`, async () => {
      const [request = "", ...more] = question;
      const asked = [
        "--request",
        request.replace("WAYPOINT", hostPort(running.address, HTTP)),
        "--from",
        FROM,
        ...more,
      ];
      const [offline, online] = await Promise.all([
        cli("explain", "--config", config, ...asked),
        cli("explain", "--admin", running.admin, ...asked),
      ]);
      assert.equal(offline.code, 0, offline.stderr);
      for (const each of expected) assert.match(offline.stdout, each);
      assert.deepEqual([online.code, online.stdout], [0, offline.stdout]);
    });
  }

  test("explain needs to know who asks where that matters", async () => {
    for (const from of [[], ["--from", spiffeId("stranger")]]) {
      const { stdout } = await cli("explain", "--config", config, "--request", `GET http://shop:${HTTP}/x`, ...from);
      assert.match(stdout, /=> 403, DENIED_BY_POLICY: .*none allowed/);
    }
  });

  test("check says ok, or everything that is wrong or not understood with its place", async () => {
    const good = join(mesh.folder, "good");
    writeResources(good, "mesh", [...RESOURCES(running.address), ROUTE({ name: "shop", port: HTTP })]);
    const bad = join(mesh.folder, "bad");
    writeResources(bad, "bad", [service("shop", [{ name: "http", port: 0 }])]);
    const [fine, asJson, doubtful, wrong] = await Promise.all([
      cli("check", "--config", config, "--resources", good),
      cli("check", "--config", config, "--resources", good, "--json"),
      cli("check", "--config", config),
      cli("check", "--config", config, "--resources", bad),
    ]);
    const status = "HTTPRoute default/shop for Service default/shop: Accepted, ResolvedRefs";
    assert.deepEqual([fine.code, fine.stdout], [0, `${status}\nok`], fine.stderr);
    const told = JSON.parse(asJson.stdout) as { problems: object[]; statuses: { status: { parents: object[] } }[] };
    assert.deepEqual([asJson.code, told.problems, told.statuses[0]?.status.parents.length], [0, [], 1]);
    assert.match(asJson.stdout, /"controllerName": "culvert\.dev\/waypoint"/);
    assert.equal(doubtful.code, 2);
    assert.match(
      doubtful.stdout,
      /^HTTPRoute default\/shop for Service .*: Accepted, not ResolvedRefs \(BackendNotFound: /m,
    );
    assert.match(
      doubtful.stderr,
      /routes\.yaml:\d+: spec\.rules\[1\]\.backendRefs\[1\]: there is no Service default\/nowhere/,
    );
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /bad\.yaml:\d+: .*spec\.ports\[0\]\.port: /);
  });

  for (const [what, change, code, says] of [
    ["an unknown key", { gatewai: {} }, 2, /gatewai: .*gateway/],
    ["no gateway", { gateway: undefined }, 2, /gateway/],
    ["no identity", { identity: { files: "nowhere" } }, 3, /identity: .*nowhere/],
    ["resources that are not there", { resources: { files: "nowhere" } }, 2, /nowhere/],
    ["an admin port that the network could reach", { admin: "0.0.0.0:15000" }, 2, /admin: .*loopback/],
  ] as const) {
    test(`${what} ends with ${code} and a line that helps`, async () => {
      const result = await cli("run", "--config", changed(mesh, change));
      assert.match(result.stderr, says);
      assert.doesNotMatch(result.stderr, /^\s+at /m);
      assert.equal(result.code, code);
    });
  }

  test("wrong questions end with 2 and a line that helps", async () => {
    const explain = ["explain", "--config", config];
    await Promise.all(
      [
        [...explain],
        [...explain, "--request", "shop"],
        [...explain, "--request", "GET http://shop:8000/", "--from", "client"],
        [...explain, "--request", "GET http://shop:8000/", "-H", "no colon"],
        ["explian"],
        ["wait", "--timeout", "soon"],
      ].map(async (args) => {
        const result = await cli(...args);
        assert.equal(result.code, 2, `${args.join(" ")}: ${result.stdout}`);
        assert.match(result.stderr, /^waypoint/);
        assert.doesNotMatch(result.stderr, /^\s+at /m);
      }),
    );
  });

  test("a port that is taken ends with 4 and is named", async () => {
    const taken = createServer().listen(0, running.address);
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    const hbone = hostPort(running.address, port);
    const result = await cli("run", "--config", changed(mesh, { hbone }));
    taken.close();
    assert.ok(/hbone.*/.exec(result.stderr)?.[0].includes(hbone), result.stderr);
    assert.equal(result.code, 4);
  });

  test("wait ends with 0 once the waypoint is ready, with 1 after its timeout", async (context) => {
    const ready = await cli("wait", "--config", config, "--timeout", "10s");
    assert.equal(ready.code, 0, ready.stderr);
    const { address, port } = await unready(context);
    const never = await cli("wait", "--address", hostPort(address, port), "--timeout", "100ms");
    assert.equal(never.code, 1);
    assert.match(never.stderr, /not ready after 100 ms/);
  });
});

/** The configuration of the running waypoint with other top-level keys, and without the ports that it has taken. */
function changed(mesh: Mesh, change: object): string {
  const file = join(mesh.folder, "changed.yaml");
  const running = parse(readFileSync(join(mesh.folder, "waypoint.yaml"), "utf8")) as object;
  const off = { admin: "off", readiness: "off", metrics: "off" };
  writeFileSync(file, JSON.stringify({ ...running, ...off, ...change }));
  return file;
}
