// One tenant takes all that it can get of a waypoint, and another one is served as if it were alone.
import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { after, before, beforeEach, describe, test, type TestContext } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { systemClock as clock } from "@culvert/shared/net/clock.ts";
import type { HttpRoute } from "@culvert/shared/config/http-route.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import { id, route, routeBackend, routeParent, routeRule, TRUST_DOMAIN } from "@culvert/test/support/fixtures.ts";
import { until } from "@culvert/test/support/until.ts";
import { must } from "@culvert/test/support/must.ts";
import { service, servicePort } from "../mesh-fixtures.ts";
import { Bench, httpApp } from "../waypoint-fixtures.ts";
import type { Tenant } from "./tenants.ts";

const KIB = 1024;
const MIB = KIB * KIB;
const APP = "app.default:9080";
const LIMITS = { by: "namespace", requests: 40, heldBytes: MIB } as const;
/** What a tenant that is alone gets of it. */
const HALF = LIMITS.requests / 2;
/** Response of one request to `/pour`. */
const POURED = 16 * MIB;

describe("tenants of one waypoint", () => {
  const bench = new Bench(LIMITS);
  const held: ServerResponse[] = [];
  const connections: Duplex[] = [];
  let workloads: Workload[];
  let bodies: number[] = [];
  let poured = 0;

  const noisy = (): Tenant => bench.tenants.of(id("noisy/curl"), TRUST_DOMAIN);
  const quiet = (): Tenant => bench.tenants.of(id("quiet/curl"), TRUST_DOMAIN);
  const askNoisy = (path: string): ReturnType<Bench["ask"]> => bench.ask(APP, path, { account: "noisy/curl" });

  function pour(response: ServerResponse): void {
    const chunk = Buffer.alloc(64 * KIB, "x");
    let left = POURED;
    const write = (): void => {
      while (left > 0) {
        left -= chunk.length;
        poured += chunk.length;
        if (!response.write(chunk)) return;
      }
      response.end();
    };
    response.on("drain", write);
    write();
  }

  /** Ten requests at once of the other tenant; all must succeed. Tells how long they took. */
  async function serveQuiet(context: TestContext): Promise<void> {
    const times = await Promise.all(
      Array.from({ length: HALF / 2 }, async () => {
        const begun = clock.monotonic();
        const answer = await bench.ask(APP, "/", { account: "quiet/curl" });
        assert.deepEqual([answer.status, answer.body], [200, "ok"]);
        return clock.monotonic() - begun;
      }),
    );
    context.diagnostic(`the other tenant's slowest request: ${Math.max(...times).toFixed(0)} ms`);
    assert.deepEqual(quiet().refused, { requests: 0, bodies: 0, copies: 0, connections: 0 });
  }

  before(async () => {
    workloads = [
      await bench.app(
        "app-1",
        httpApp((request, response) => {
          let length = 0;
          request.on("data", (chunk: Buffer) => (length += chunk.length));
          request.on("end", () => {
            bodies.push(length);
            if (request.url === "/hold") held.push(response);
            else if (request.url === "/pour") pour(response);
            else if (request.url === "/once" && bodies.filter((bytes) => bytes === length).length === 1) {
              response.writeHead(503).end();
            } else response.end("ok");
          });
        }),
      ),
      await bench.app("db-1", (connection) => void connection.on("error", () => {}).resume()),
    ];
    await use([]);
    await bench.start();
  });

  async function use(routes: readonly HttpRoute[]): Promise<void> {
    const db = service("default/db", { ports: [servicePort({ appProtocol: "tcp" })] });
    await bench.use({ services: [service("default/app"), db], workloads, routes });
  }

  beforeEach(async () => {
    await use([]);
    bodies = [];
    poured = 0;
    noisy().refused.requests = 0;
    noisy().refused.bodies = 0;
  });
  after(() => bench.stop());

  async function allGone(): Promise<void> {
    for (const response of held.splice(0)) response.end("ok");
    for (const connection of connections.splice(0)) connection.destroy();
    await until("nothing to be held", () => noisy().isIdle && quiet().isIdle);
  }

  test("requests in flight: over its share a tenant is answered 429, and the other is not", async (context) => {
    const asked = Array.from({ length: HALF + 12 }, () => askNoisy("/hold"));
    await until("all requests to have come", () => held.length === HALF && noisy().refused.requests === 12);
    assert.equal(noisy().requests.used, HALF);
    await serveQuiet(context);
    await allGone();
    const answers = await Promise.all(asked);
    const refused = answers.filter(({ status }) => status === 429);
    assert.equal(answers.filter(({ status }) => status === 200).length, HALF);
    assert.deepEqual(
      refused.map(({ headers }) => headers["culvert-code"]),
      Array.from({ length: 12 }, () => "TENANT_OVER_SHARE"),
    );
  });

  test("connections that are passed through count as requests", async (context) => {
    const opened = await Promise.all(
      Array.from({ length: HALF + 5 }, () => bench.open("db.default:9080", "noisy/curl")),
    );
    const failures = opened.filter((connection) => isFailure(connection));
    for (const connection of opened) if (!isFailure(connection)) connections.push(connection);
    assert.equal(failures.length, 5);
    for (const { detail } of failures) assert.match(detail, /TENANT_OVER_SHARE/);
    await serveQuiet(context);
    await allGone();
  });

  test("bodies that are kept: over its share a tenant has none to send again, and the other has", async (context) => {
    const rule = routeRule({
      backends: [routeBackend("app", 9080)],
      retry: { codes: [503], attempts: 2, backoffMs: 0 },
    });
    await use([route("r", { parents: [routeParent("app")], rules: [rule] })]);
    const body = "x".repeat(60 * KIB);
    const post = { method: "POST", body, account: "noisy/curl" };
    const asked = Array.from({ length: 16 }, () => bench.ask(APP, "/hold", post));
    await until("all bodies to have come", () => held.length === 16);
    context.diagnostic(`held for the tenant that floods: ${noisy().heldBytes.used / KIB} KiB of ${MIB / KIB}`);
    assert.ok(noisy().heldBytes.used <= MIB / 2 && noisy().heldBytes.used > 0);
    assert.ok(noisy().refused.bodies >= 8, `${noisy().refused.bodies} bodies were not kept`);
    const other = "y".repeat(50 * KIB);
    const answer = await bench.ask(APP, "/once", { method: "POST", body: other, account: "quiet/curl" });
    assert.equal(answer.status, 200);
    assert.deepEqual(
      bodies.filter((length) => length === other.length),
      [other.length, other.length],
      "it was sent twice, and whole",
    );
    await serveQuiet(context);
    await allGone();
    assert.deepEqual(new Set((await Promise.all(asked)).map(({ status }) => status)), new Set([200]));
  });

  test("readers that do not read hold up their own application", async (context) => {
    for (let i = 0; i < 10; i += 1) {
      const connection = must(await bench.open(APP, "noisy/curl"));
      connections.push(connection);
      connection.write("GET /pour HTTP/1.1\r\nhost: app\r\n\r\n");
      await once(connection, "readable");
    }
    await until("every response to be held up", () => poured > 10 * 64 * KIB);
    await serveQuiet(context);
    context.diagnostic(`written to ten readers that do not read: ${(poured / MIB).toFixed(1)} MiB`);
    assert.ok(poured < (10 * POURED) / 2, `${poured} bytes`);
    await allGone();
  });

  test("a route that is not understood is its own namespace's, and nobody else's", async (context) => {
    const broken = routeRule({ backends: [routeBackend("app", 9080)], notUnderstood: "a filter of no known kind" });
    await use([route("noisy/r", { parents: [routeParent("default/app")], rules: [broken] })]);
    const answer = await askNoisy("/");
    assert.deepEqual([answer.status, answer.headers["culvert-code"]], [500, "ROUTE_NOT_UNDERSTOOD"]);
    await serveQuiet(context);
    await allGone();
  });
});
