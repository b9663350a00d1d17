import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { after, before, beforeEach, describe, test } from "node:test";
import type { HttpRoute, HttpRouteBackend } from "@culvert/shared/config/http-route.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { PolicyOperation } from "@culvert/shared/policy/authorization.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import { id, ip, route, routeBackend, routeMatch, routeParent, routeRule } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { until, within } from "@culvert/test/support/until.ts";
import { policy, service, servicePort, workload, type MeshParts } from "../mesh-fixtures.ts";
import { Bench, httpApp, readAll } from "../waypoint-fixtures.ts";

const TCP = servicePort({ name: "tcp", port: 7000, targetPort: 7000, appProtocol: "tcp" });
const ANY = servicePort({ name: "any", port: 7001, targetPort: 7001, appProtocol: "unspecified" });

function echo(connection: Duplex): void {
  connection.on("error", () => {});
  connection.on("data", (chunk) => void connection.write(chunk));
  connection.on("end", () => void connection.end());
}

/** Speaks first, then says what it was told. */
function greet(connection: Duplex): void {
  connection.on("error", () => {});
  connection.write("220 hello\r\n");
  connection.on("data", (chunk: Buffer) => void connection.end(`you said ${chunk.toString()}`));
}

function tell(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader("x-url", request.url ?? "");
  if (request.url === "/stream") {
    response.write("first\n");
    return;
  }
  response.end(JSON.stringify(request.headers));
}

function denyCurl(operation?: PolicyOperation): ReturnType<typeof policy> {
  const from = [{ principals: [{ kind: "exact" as const, value: id("default/curl").slice("spiffe://".length) }] }];
  return policy("no-curl", { action: "DENY", rules: [{ from, to: operation === undefined ? [] : [operation] }] });
}

function to(name: string): HttpRouteBackend {
  return routeBackend(name, 9080);
}

/** An endpoint of `db` at which nobody listens. */
function dead(n: number): Workload {
  return workload(`default/db-${n}`, "127.0.0.1", { hbonePort: 9, labels: new Map([["app", "db"]]) });
}

const ADMIN: PolicyOperation = { paths: [{ kind: "prefix", value: "/admin" }] };

describe("tunnels at the waypoint", () => {
  const bench = new Bench();
  let reviews: Workload;
  let db: Workload;
  let mail: Workload;

  const mesh = (more: Partial<MeshParts> = {}): MeshParts => ({
    services: [
      service("default/reviews", { vips: [ip("10.96.0.1")], ports: [servicePort()] }),
      service("default/db", { ports: [TCP, ANY] }),
      service("default/mail", { ports: [TCP, ANY] }),
      service("default/other", { waypoint: undefined, vips: [ip("10.96.0.2")] }),
    ],
    workloads: [reviews, db, mail],
    ...more,
  });

  before(async () => {
    reviews = await bench.app("reviews-1", httpApp(tell));
    db = await bench.app("db-1", echo);
    mail = await bench.app("mail-1", greet);
    await bench.use(mesh());
    await bench.start();
  });
  beforeEach(() => bench.use(mesh()));
  after(() => bench.stop());

  async function refused(authority: string, account?: string): Promise<Failure> {
    const result = await bench.open(authority, account);
    assert.ok(isFailure(result), `${authority} was accepted`);
    return result;
  }

  function line(fields: Record<string, unknown>): Promise<Record<string, unknown>> {
    return until(`a line with ${JSON.stringify(fields)}`, () =>
      bench.lines.find((each) => Object.entries(fields).every(([key, value]) => each[key] === value)),
    );
  }

  test("HTTP is served by cluster IP, by name and by address of the workload", async () => {
    for (const authority of ["10.96.0.1:9080", "reviews.default:9080", "127.0.0.1:9080"]) {
      const { status, body } = await bench.ask(authority, "/ratings");
      assert.equal(status, 200, authority);
      const headers = JSON.parse(body) as Record<string, string>;
      assert.equal(headers["host"], authority);
      assert.equal(
        headers["x-forwarded-client-cert"],
        `By=${id("default/waypoint")};URI=${id("default/curl")}`,
        "the app learns who called",
      );
      assert.equal(headers["x-forwarded-for"], "127.0.0.1");
      assert.match(headers["x-request-id"] ?? "", /^[0-9a-f-]{36}$/);
    }
    const told = await line({ path: "/ratings", authority: "reviews.default:9080" });
    assert.equal(told["upstream_host"], "127.0.0.1:9080");
    assert.equal(told["upstream_cluster"], "default/reviews:9080");
    assert.equal(told["src.identity"], id("default/curl"));
  });

  test("the path that is decided on is the path that is forwarded", async () => {
    await bench.use(mesh({ policies: [denyCurl(ADMIN)] }));
    for (const path of ["/x/../admin", "/%61dmin", "/admin;x", "/x\\..\\admin", "/./admin/%2e"]) {
      const { status } = await bench.ask("reviews:9080", path);
      assert.equal(status, 403, path);
    }
    const { headers } = await bench.ask("reviews:9080", "/a/../public/%7Eme?q=/admin");
    assert.equal(headers["x-url"], "/public/~me?q=/admin");
    for (const path of ["/admin%00", "/a%zz"]) assert.equal((await bench.ask("reviews:9080", path)).status, 400, path);
  });

  test("what this waypoint does not serve is refused with a code", async () => {
    for (const authority of ["10.96.0.2:9080", "169.254.169.254:80", "reviews:1", "nowhere.example:80"]) {
      const failure = await refused(authority);
      assert.equal(failure.code, "PEER_NO_DESTINATION", authority);
      assert.match(failure.detail, /DESTINATION_UNKNOWN/);
    }
    assert.match((await refused("127.0.0.9:80")).detail, /SELF_CALL/);
    assert.match((await refused("reviews:9080", "waypoint")).detail, /LOOP_DETECTED/);
    await line({ code: "DESTINATION_UNKNOWN", "dst.addr": "169.254.169.254:80" });
  });

  test("a request that policy refuses is answered 403, and the log says by which rule", async () => {
    await bench.use(mesh({ policies: [denyCurl(ADMIN)] }));
    const { status, headers } = await bench.ask("reviews:9080", "/admin/users");
    assert.equal(status, 403);
    assert.equal(headers["culvert-code"], "DENIED_BY_POLICY");
    const told = await line({ path: "/admin/users", code: "DENIED_BY_POLICY" });
    assert.deepEqual([told["policy"], told["policy_rule"]], ["default/no-curl", "rules[0]"]);
    assert.equal((await bench.ask("reviews:9080", "/admin", { account: "other" })).status, 200);
    const unknown = await bench.use(mesh({ policies: [policy("odd", { notUnderstood: "rules[0].when" })] }));
    assert.equal(unknown, 0);
    assert.equal((await bench.ask("reviews:9080", "/")).status, 403);
  });

  test("a route that is not understood, matches nothing or leads nowhere has its own code", async () => {
    const parents = [routeParent("reviews")];
    const base = route("r", { parents });
    const rule = routeRule({ name: "main", matches: [routeMatch()] });
    const cases: readonly (readonly [HttpRoute, number, string])[] = [
      [base, 404, "ROUTE_NOT_FOUND"],
      [{ ...base, notUnderstood: "spec.rules[0].filters" }, 500, "ROUTE_NOT_UNDERSTOOD"],
      [{ ...base, rules: [rule] }, 500, "BACKEND_INVALID"],
      [{ ...base, rules: [{ ...rule, backends: [to("gone")] }] }, 500, "BACKEND_INVALID"],
      [{ ...base, rules: [{ ...rule, backends: [to("empty")] }] }, 503, "NO_HEALTHY_UPSTREAM"],
    ];
    for (const [routed, status, code] of cases) {
      const services = [...(mesh().services ?? []), service("default/empty")];
      await bench.use(mesh({ routes: [routed], services }));
      const answer = await bench.ask("reviews:9080", "/");
      assert.deepEqual([answer.status, answer.headers["culvert-code"]], [status, code]);
    }
    // Addresses of workloads are not routed.
    assert.equal((await bench.ask("127.0.0.1:9080", "/")).status, 200);
  });

  test("a rule says how long a request may take, and when it is sent again", async () => {
    let asked = 0;
    const flaky = await bench.app(
      "flaky-1",
      httpApp((request, response) => {
        asked += 1;
        if (request.url === "/never") return;
        response.statusCode = asked === 1 ? 503 : 200;
        response.end();
      }),
    );
    const rule = routeRule({
      backends: [to("flaky")],
      // Long enough for an answer of a busy machine: only what never answers may meet them.
      timeouts: { requestMs: 10_000, backendRequestMs: 1_000 },
      retry: { codes: [503], attempts: 1, backoffMs: 0 },
    });
    await bench.use({
      services: [service("default/flaky")],
      workloads: [flaky],
      routes: [route("r", { parents: [routeParent("flaky")], rules: [rule] })],
    });
    assert.equal((await bench.ask("flaky:9080", "/once")).status, 200);
    assert.equal(asked, 2);
    const late = await bench.ask("flaky:9080", "/never");
    assert.deepEqual([late.status, late.headers["culvert-code"], asked], [504, "UPSTREAM_TIMEOUT", 4]);
  });

  test("a declared TCP port passes bytes and half-closes both ways", async () => {
    const connection = must(await bench.open("db:7000"));
    connection.end("PRI whatever \u0000");
    assert.equal(await within("the echo", readAll(connection)), "PRI whatever \u0000");
    const told = await line({ "dst.service": "db.default.svc.cluster.local", direction: "inbound" });
    assert.deepEqual([told["bytes_recv"], told["bytes_sent"], told["code"]], [14, 14, undefined]);
    assert.equal(told["dst.identity"], id("default/db"));
  });

  test("TCP is refused before it is answered, where only HTTP could satisfy the policy too", async () => {
    const target = { kind: "refs", refs: [{ kind: "Service", name: "db" }] } as const;
    for (const denial of [denyCurl(), denyCurl(ADMIN)]) {
      await bench.use(mesh({ policies: [{ ...denial, target }] }));
      const failure = await refused("db:7000");
      assert.equal(failure.code, "PEER_DENIED");
      assert.match(failure.detail, /DENIED_BY_POLICY/);
    }
    must(await bench.open("db:7000", "other")).destroy();
  });

  test("where nothing is declared, the first bytes decide", async () => {
    const opaque = must(await bench.open("db:7001"));
    opaque.end("EHLO there\r\n");
    assert.equal(await within("the echo", readAll(opaque)), "EHLO there\r\n");
    const http = must(await bench.open("db:7001"));
    http.write("GET / HTTP/1.1\r\nhost: db\r\nx-mine: 1\r\n\r\n");
    const [echoed] = (await within("the request as it was forwarded", once(http, "data"))) as [Buffer];
    // The app is no HTTP server: it echoes the request, which is no response.
    assert.match(echoed.toString(), /^HTTP\/1\.1 502 /);
    http.destroy();
    const h2 = must(await bench.open("db:7001"));
    h2.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    const [answer] = (await within("SETTINGS", once(h2, "data"))) as [Buffer];
    assert.equal(answer[3], 4, "a SETTINGS frame of ours");
    h2.destroy();
  });

  test("a server that speaks first is heard where nothing is declared", async () => {
    const connection = must(await bench.open("mail:7001"));
    const [greeting] = (await within("the greeting", once(connection, "data"))) as [Buffer];
    assert.equal(greeting.toString(), "220 hello\r\n");
    connection.end("bye");
    assert.equal(await within("the answer", readAll(connection)), "you said bye");
  });

  test("before the answer another endpoint is tried, and the caller is told when there is none", async () => {
    await bench.use(mesh({ workloads: [dead(2), dead(3), db] }));
    for (let i = 0; i < 4; i++) must(await bench.open("db:7000")).destroy();
    await bench.use(mesh({ workloads: [dead(2)] }));
    const failure = await refused("db:7000");
    assert.match(failure.detail, /503 PEER_REFUSED|503 PEER_UNREACHABLE/);
    assert.match((await refused("mail:7000")).detail, /503 NO_HEALTHY_UPSTREAM/);
  });

  test("what is not in the mesh is reached in plain TCP, by HTTP and by bytes", async () => {
    const app = createServer(tell).listen(0, "127.0.0.1");
    await once(app, "listening");
    const { port } = app.address() as AddressInfo;
    const ports = new Map([
      ["http", port],
      ["tcp", port],
    ]);
    const plain = workload("default/reviews-9", "127.0.0.1", { protocol: "none", ports });
    await bench.use(mesh({ workloads: [plain, { ...plain, uid: "default/db-9", labels: new Map([["app", "db"]]) }] }));
    const { status, headers } = await bench.ask("reviews:9080", "/plain");
    assert.deepEqual([status, headers["x-url"]], [200, "/plain"]);
    const bytes = must(await bench.open("db:7000"));
    bytes.end("GET /bytes HTTP/1.1\r\nhost: db\r\nconnection: close\r\n\r\n");
    assert.match(await within("the answer", readAll(bytes)), /^HTTP\/1\.1 200 OK[^]*x-url: \/bytes/);
    app.closeAllConnections();
    await new Promise((resolve) => app.close(resolve));
    assert.equal((await bench.ask("reviews:9080", "/")).headers["culvert-code"], "APP_REFUSED");
    assert.match((await refused("db:7000")).detail, /APP_REFUSED/);
  });

  test("an endpoint that proves another identity gets nothing", async () => {
    await bench.use(mesh({ workloads: [{ ...db, serviceAccount: "db-2" }] }));
    assert.match((await refused("db:7000")).detail, /IDENTITY_MISMATCH/);
  });

  test("a change of policy ends what it no longer permits, at once, and nothing else", async () => {
    const tcp = must(await bench.open("db:7000"));
    const stays = must(await bench.open("db:7000", "other"));
    tcp.write("x");
    stays.write("y");
    await within("bytes", Promise.all([once(tcp, "data"), once(stays, "data")]));
    const target = { kind: "refs", refs: [{ kind: "Gateway", name: "waypoint" }] } as const;
    const reset = once(tcp, "error");
    assert.ok((await bench.use(mesh({ policies: [{ ...denyCurl(), target }] }))) >= 1);
    await within("the reset", reset);
    await line({ code: "POLICY_CHANGED", policy: "default/no-curl" });
    stays.end("z");
    assert.equal(await within("the rest", readAll(stays)), "z");
  });

  test("a change of policy ends a response that is on its way", async () => {
    const connection = must(await bench.open("reviews:9080"));
    connection.write("GET /stream HTTP/1.1\r\nhost: reviews\r\n\r\n");
    await within("the first part", once(connection, "data"));
    const reset = new Promise((resolve) => connection.on("error", resolve));
    assert.equal(await bench.use(mesh({ policies: [denyCurl(ADMIN)] })), 0, "another path is forbidden");
    assert.equal(await bench.use(mesh({ policies: [denyCurl()] })), 1);
    await within("the reset", reset);
    const told = await line({ path: "/stream", code: "POLICY_CHANGED" });
    assert.deepEqual([told["response_code"], told["policy"]], [200, "default/no-curl"]);
  });

  test("each request is decided by the newest policy, on a connection that was there before", async () => {
    const connection = must(await bench.open("reviews:9080"));
    const request = "GET /admin HTTP/1.1\r\nhost: reviews\r\n\r\n";
    connection.write(request);
    const [first] = (await within("an answer", once(connection, "data"))) as [Buffer];
    assert.match(first.toString(), /^HTTP\/1\.1 200 /);
    await bench.use(mesh({ policies: [denyCurl(ADMIN)] }));
    connection.write(request);
    const [second] = (await within("an answer", once(connection, "data"))) as [Buffer];
    assert.match(second.toString(), /^HTTP\/1\.1 403 /);
    await bench.use(mesh({ services: [] }));
    connection.write(request);
    const [third] = (await within("an answer", once(connection, "data"))) as [Buffer];
    assert.match(third.toString(), /^HTTP\/1\.1 404 [^]*DESTINATION_UNKNOWN/);
    connection.destroy();
  });

  test("nothing is left of tunnels that are over", async () => {
    await until("the end of all tunnels", () => {
      bench.live.drain();
      return [...bench.live].every(({ protocol }) => protocol !== "undecided") && bench.live.size === 0;
    });
    assert.match(bench.metrics.render("prometheus"), /istio_requests_total\{reporter="waypoint"/);
  });
});
