// The whole chain with real programs: app → uproxy → waypoint → uproxy → app. Routes, policy at L7, who the app learns
// has called, TCP through the waypoint, changes on disk, and what happens when the waypoint goes.
import assert from "node:assert/strict";
import { Agent, request } from "node:http";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { countThenAnswer, smtp, startHttpApp, startTcpApp, type Echoed } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { spiffeId } from "../support/identities.ts";
import { virtualAddress } from "../support/loopback.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { runProgram } from "../support/programs.ts";
import {
  authorizationPolicy,
  httpRoute,
  service,
  waypoint,
  workloadEntry,
  type Port,
  type Resource,
} from "../support/resources.ts";
import { attempt, converse, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const HTTP = 8080;
const COUNT = 7002;
const SMTP = 7003;
const ANY = 7004;
const LISTEN = { http: 9080, count: 9002, smtp: 9003, undeclared: 9004, other: 9005 } as const;
const VIP = virtualAddress(7);
const USE = { "istio.io/use-waypoint": "waypoint" };

const SPLIT = {
  matches: [{ path: { type: "PathPrefix", value: "/" } }],
  backendRefs: [
    { name: "reviews-v1", port: 80, weight: 90 },
    { name: "reviews-v2", port: 80, weight: 10 },
  ],
};
const BETA = {
  matches: [{ path: { type: "PathPrefix", value: "/" }, headers: [{ name: "x-beta", value: "yes" }] }],
  backendRefs: [{ name: "reviews-v2", port: 80 }],
};

/** A Service that selects one version of reviews. */
function ofVersion(name: string, version: string, ports: readonly Port[]): Resource {
  const { spec, ...rest } = service(name, ports);
  return { ...rest, spec: { ...(spec as object), selector: { app: "reviews", version } } };
}

function header({ rawHeaders }: Echoed, name: string): string | undefined {
  const at = rawHeaders.findIndex((word, index) => index % 2 === 0 && word.toLowerCase() === name);
  return at < 0 ? undefined : rawHeaders[at + 1];
}

function ofReviews(name: string): Parameters<typeof workloadEntry>[2] {
  return { serviceAccount: "reviews", app: "reviews", labels: { version: name } };
}

describe("a waypoint between two uproxies", () => {
  let mesh: Mesh;
  let client: Proxy;
  let v1: Proxy;
  let gate: Proxy;

  /** The policy in force, as a file that a test may write anew. */
  function writePolicy(rules: readonly unknown[]): void {
    mesh.write("policy", [authorizationPolicy("no-admin", "DENY", { service: "reviews" }, rules)]);
  }
  // With the port: a DENY that asks for a path also refuses the TCP ports of the service, where there is no path to ask.
  const noAdmin = { to: [{ operation: { paths: ["/admin*"], ports: ["80"] } }] };

  before(async () => {
    mesh = await startMesh();
    const [clientAddress, v1Address, v2Address, gateAddress] = [0, 1, 2, 3].map(() => mesh.address()) as [
      string,
      string,
      string,
      string,
    ];
    const ports = [{ name: "http", port: 80, targetPort: HTTP, appProtocol: "http" }];
    mesh.write("mesh", [
      service(
        "reviews",
        [
          ...ports,
          { name: "tcp-count", port: COUNT, appProtocol: "tcp" },
          { name: "tcp-smtp", port: 25, targetPort: SMTP },
          { name: "any", port: ANY, targetPort: SMTP },
        ],
        { labels: USE, clusterIP: VIP },
      ),
      ofVersion("reviews-v1", "v1", ports),
      ofVersion("reviews-v2", "v2", ports),
      workloadEntry("reviews-1", v1Address, ofReviews("v1")),
      workloadEntry("reviews-2", v2Address, ofReviews("v2")),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
      ...waypoint("waypoint", gateAddress, { serviceAccount: "waypoint" }),
      httpRoute("reviews", "reviews", [SPLIT, BETA]),
      authorizationPolicy("only-the-waypoint", "ALLOW", { app: "reviews" }, [
        { from: [{ source: { principals: ["cluster.local/ns/default/sa/waypoint"] } }] },
      ]),
    ]);
    writePolicy([noAdmin]);
    await mesh.with(startHttpApp(v1Address, HTTP, "v1"));
    await mesh.with(startHttpApp(v2Address, HTTP, "v2"));
    for (const address of [v1Address, v2Address]) {
      await mesh.with(startTcpApp(address, COUNT, countThenAnswer));
      await mesh.with(startTcpApp(address, SMTP, smtp));
    }
    v1 = await mesh.uproxy({ name: "reviews-1", account: "reviews", address: v1Address });
    await mesh.uproxy({ name: "reviews-2", account: "reviews", address: v2Address });
    gate = await mesh.waypoint({ name: "waypoint", gateway: "waypoint", address: gateAddress });
    const listen = (port: number): string => hostPort(mesh.inside(clientAddress), port);
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: [
        { listen: listen(LISTEN.http), to: "reviews:80" },
        { listen: listen(LISTEN.count), to: `reviews:${COUNT}` },
        { listen: listen(LISTEN.smtp), to: "reviews:25" },
        { listen: listen(LISTEN.undeclared), to: `reviews:${ANY}` },
      ],
    });
  });

  after(() => mesh.stop());

  function get(path: string, headers: Record<string, string> = {}): ReturnType<typeof ask> {
    return ask(`http://${hostPort(client.inside, LISTEN.http)}${path}`, { headers: { host: "reviews", ...headers } });
  }

  async function echoed(path: string, headers?: Record<string, string>): Promise<Echoed> {
    const { status, body } = await get(path, headers);
    assert.equal(status, 200, body);
    return JSON.parse(body) as Echoed;
  }

  test("the app learns who has called, whatever the caller says of itself", async () => {
    const told = await echoed("/who?x=1", {
      "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin",
      connection: "x-forwarded-client-cert, close",
    });
    assert.equal(told.url, "/who?x=1");
    assert.equal(header(told, "x-forwarded-client-cert"), `By=${spiffeId("waypoint")};URI=${spiffeId("client")}`);
    assert.equal(header(told, "host"), "reviews");
    assert.match(header(told, "x-request-id") ?? "", /^[0-9a-f-]{36}$/);
    const line = await gate.access({ path: "/who?x=1" });
    assert.equal(line["src.identity"], spiffeId("client"));
    assert.deepEqual([line["route"], line["rule"], line["response_code"]], ["default/reviews", "rules[0]", 200]);
    assert.equal(line["request_id"], header(told, "x-request-id"));
  });

  test("weights share the requests, and a header match outranks them", async () => {
    const counts = { v1: 0, v2: 0 };
    const answers = await Promise.all(Array.from({ length: 400 }, (_, index) => echoed(`/share/${index}`)));
    for (const { app } of answers) counts[app as "v1" | "v2"] += 1;
    // 40 expected; six standard deviations of a fair draw are 36.
    assert.ok(counts.v2 >= 4 && counts.v2 <= 76, JSON.stringify(counts));
    for (let i = 0; i < 5; i++) assert.equal((await echoed("/", { "x-beta": "yes" })).app, "v2");
  });

  test("policy at L7 refuses every spelling of a path, with code and rule", async () => {
    for (const path of ["/admin", "/x/../admin/users", "/%61dmin", "/./admin"]) {
      const { status, headers, body } = await get(path);
      assert.equal(status, 403, path);
      assert.equal(headers["culvert-code"], "DENIED_BY_POLICY");
      assert.doesNotMatch(body, /"app"/);
    }
    const line = await gate.access({ code: "DENIED_BY_POLICY", path: "/admin/users" });
    assert.deepEqual([line["policy"], line["policy_rule"]], ["default/no-admin", "rules[0]"]);
    assert.equal((await get("/admin%00")).status, 400);
  });

  test("a service is reached by its cluster IP too, and its workloads only through the waypoint", async () => {
    const byVip = await dial(client.inside, PORTS.proxy);
    byVip.send(`CONNECT ${hostPort(VIP, 80)} HTTP/1.1\r\n\r\n`);
    await byVip.bytes(12);
    byVip.finish("GET /vip HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n");
    await byVip.ended();
    assert.match(byVip.received.toString(), /HTTP\/1\.1 200 OK[^]*"url":"\/vip"/);
    const around = await dial(client.inside, PORTS.proxy);
    around.send(`CONNECT ${hostPort(v1.address, HTTP)} HTTP/1.1\r\n\r\n`);
    await around.bytes(12);
    assert.match(around.received.toString(), /^HTTP\/1\.1 403/);
    around.close();
  });

  test("the destination's uproxy sees the waypoint, over few connections that are kept", async () => {
    const { body } = await ask(`http://${v1.admin}/connections`);
    const { connections } = JSON.parse(body) as { readonly connections: readonly { readonly peer: string }[] };
    assert.ok(connections.length > 0, "kept-alive connections stay open");
    assert.deepEqual([...new Set(connections.map(({ peer }) => peer))], [spiffeId("waypoint")]);
    for (let i = 0; i < 20; i++) await echoed("/kept");
    const later = JSON.parse((await ask(`http://${v1.admin}/connections`)).body) as { open: number };
    assert.ok(later.open <= connections.length + 1, `${later.open} after ${connections.length}`);
  });

  test("TCP ports pass through: half-close, and a server that speaks first, declared or not", async () => {
    const counted = await converse(client.inside, LISTEN.count, "x".repeat(100_000));
    assert.deepEqual([counted.received.toString(), counted.ended], ["100000 bytes", "end"]);
    for (const port of [LISTEN.smtp, LISTEN.undeclared]) {
      const mail = await dial(client.inside, port);
      assert.match((await mail.bytes(20)).toString(), /^220 mail\.example/);
      mail.send("QUIT\r\n");
      assert.equal(await mail.ended(), "end");
      assert.match(mail.received.toString(), /221 bye/);
      mail.close();
    }
    const line = await gate.access({ direction: "inbound", bytes_recv: 100_000 });
    assert.equal(line["bytes_sent"], 12);
    assert.equal(line["dst.identity"], spiffeId("reviews"));
  });

  test("a policy edited on disk holds for the next request, and a route that is not understood answers 500", async () => {
    assert.equal((await get("/editable")).status, 200);
    writePolicy([noAdmin, { to: [{ operation: { paths: ["/editable"], ports: ["80"] } }] }]);
    await until("the refusal", async () => (await get("/editable")).status === 403);
    writePolicy([noAdmin]);
    await until("the permission", async () => (await get("/editable")).status === 200);
    const odd = { ...SPLIT, filters: [{ type: "RequestMirror", requestMirror: {} }] };
    mesh.write("odd", [httpRoute("zz-odd", "reviews", [{ ...odd, matches: [{ path: { value: "/odd" } }] }])]);
    const answer = await until("the route in use", async () => {
      const asked = await get("/odd");
      return asked.status === 200 ? undefined : asked;
    });
    assert.deepEqual([answer.status, answer.headers["culvert-code"]], [500, "ROUTE_NOT_UNDERSTOOD"]);
    mesh.remove("odd");
    await until("the route gone", async () => (await get("/odd")).status === 200);
  });

  test("metrics and connections say what happened; explain says the same offline and online", async () => {
    const { body } = await ask(`http://${hostPort(gate.address, PORTS.metrics)}/metrics`);
    assert.match(
      body,
      /istio_requests_total\{reporter="waypoint",[^}]*source_principal="[^"]*sa\/client"[^}]*response_code="200"/,
    );
    assert.match(body, /istio_requests_total\{[^}]*response_code="403"/);
    assert.match(body, /istio_tcp_connections_opened_total\{reporter="waypoint"/);
    assert.match(body, /culvert_failures_total\{code="DENIED_BY_POLICY"\} [1-9]/);
    const question = ["--request", "GET http://reviews:80/x", "--from", spiffeId("client"), "-H", "x-beta: yes"];
    const config = `${mesh.folder}/waypoint.yaml`;
    const offline = await runProgram("waypoint", ["explain", "--config", config, ...question]);
    assert.equal(offline.code, 0, offline.stderr);
    assert.match(offline.stdout, /=> 100 % forwarded to default\/reviews-v2:80/);
    const online = await runProgram("waypoint", ["explain", "--admin", gate.admin, ...question]);
    assert.equal(online.stdout, offline.stdout);
    const output = ["--output", "json"];
    const [json, onlineJson] = await Promise.all(
      [
        ["--config", config],
        ["--admin", gate.admin],
      ].map((source) => runProgram("waypoint", ["explain", ...source, ...question, ...output])),
    );
    assert.equal(json?.stdout, onlineJson?.stdout);
    const { route, steps } = JSON.parse(json?.stdout ?? "") as { route: { uid: string }; steps: string[] };
    assert.deepEqual([route.uid, steps.join("\n")], ["default/reviews", offline.stdout]);
    const checked = await runProgram("waypoint", ["check", "--config", config]);
    assert.equal(checked.code, 0, checked.stderr);
    assert.match(
      checked.stdout,
      /^HTTPRoute default\/reviews for Service default\/reviews: Accepted, ResolvedRefs\nok$/,
    );
    const waited = await runProgram("waypoint", ["wait", "--config", config, "--timeout", "5s"]);
    assert.equal(waited.code, 0, waited.stderr);
  });

  test("a second waypoint on the same port ends with 4, one without identity with 3", async () => {
    const config = `${mesh.folder}/waypoint.yaml`;
    const off = ["ADMIN", "READINESS", "METRICS"].map((name): [string, string] => [`CULVERT_${name}`, "off"]);
    const taken = await runProgram("waypoint", ["run", "--config", config], { env: Object.fromEntries(off) });
    assert.equal(taken.code, 4, taken.stderr);
    assert.ok(taken.stderr.includes(`hbone: cannot listen on ${hostPort(gate.address, PORTS.hbone)}`), taken.stderr);
    const env = { CULVERT_IDENTITY_FILES: mesh.resources, ...Object.fromEntries(off) };
    const nobody = await runProgram("waypoint", ["run", "--config", config], { env });
    assert.equal(nobody.code, 3, nobody.stderr);
  });

  test("a waypoint that drains lets kept connections go; without it nothing passes, and nothing goes around", async () => {
    const agent = new Agent({ keepAlive: true });
    const closed = new Promise<void>((resolve, reject) => {
      const asked = request(
        { host: client.inside, port: LISTEN.http, path: "/last", headers: { host: "reviews" }, agent },
        (response) => void response.resume(),
      );
      asked.on("socket", (socket) => void socket.once("close", () => resolve()));
      asked.on("error", reject);
      asked.on("response", (response) => response.on("end", () => gate.program.signal("SIGTERM")));
      asked.end();
    });
    await closed;
    const exit = await gate.program.exited;
    assert.equal(exit.code, 0);
    agent.destroy();
    const asked = attempt(client.inside, LISTEN.http);
    asked.send("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n");
    assert.equal(await asked.ended(), "ECONNRESET");
    assert.equal(asked.received.length, 0);
    await client.access({ "dst.service": "reviews.default.svc.cluster.local", code: "PEER_REFUSED" });
  });
});
