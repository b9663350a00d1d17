// app → uproxy → what lies outside: only what a ServiceEntry names may be reached, straight or through an egress waypoint that
// decides by request; everything else is refused at once, on every way in, with a line in the log.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { echo, startHttpApp, startTcpApp, type App, type Echoed } from "../support/apps.ts";
import { dialHttp, request, verdictOf } from "../support/http-wire.ts";
import { ask } from "../support/http.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { authorizationPolicy, serviceEntry, waypoint, workloadEntry } from "../support/resources.ts";
import { attempt, dial } from "../support/tcp.ts";

const HTTP = 8080;
const ECHO = 7001;
/** Ports of explicit listeners of the client. */
const TO = { straight: 9001, guarded: 9002, refused: 9003, guardedTcp: 9004 } as const;
const BEHIND = { labels: { "istio.io/use-waypoint": "egress" } };

describe("egress", () => {
  let mesh: Mesh;
  let client: Proxy;
  let egress: Proxy;
  let outside: App;
  let named: App;
  /** Where the client has its listeners. */
  let inside: string;
  let address: { readonly outside: string; readonly other: string; readonly client: string; readonly egress: string };

  before(async () => {
    mesh = await startMesh();
    address = { outside: mesh.address(), other: mesh.address(), client: mesh.address(), egress: mesh.address() };
    inside = mesh.inside(address.client);
    named = await mesh.with(startHttpApp("127.0.0.1", 0, "by name"));
    const ports = [
      { number: 80, name: "http", protocol: "HTTP", targetPort: HTTP },
      { number: ECHO, name: "tcp-echo", protocol: "TCP" },
    ];
    const endpoints = [{ address: address.outside }];
    const reads = [{ operation: { methods: ["GET"], paths: ["/public*"] } }];
    mesh.write("mesh", [
      workloadEntry("client", address.client, { serviceAccount: "client" }),
      ...waypoint("egress", address.egress, { serviceAccount: "egress" }),
      serviceEntry("straight", "straight.example.com", { ports, resolution: "STATIC", endpoints }),
      serviceEntry("guarded", "guarded.example.com", { ports, resolution: "STATIC", endpoints }, BEHIND),
      serviceEntry("block", "block.example.com", {
        addresses: [address.other],
        ports: [{ number: HTTP, name: "http", protocol: "HTTP" }],
        resolution: "NONE",
      }),
      serviceEntry("named", "named.example.com", {
        ports: [{ number: 80, name: "http", targetPort: named.port }],
        resolution: "DNS",
        endpoints: [{ address: "localhost" }],
      }),
      authorizationPolicy("reads", "ALLOW", { entry: "guarded" }, [
        { from: [{ source: { principals: ["cluster.local/ns/default/sa/client"] } }], to: reads },
        { to: [{ operation: { ports: [`${ECHO}`] } }] },
      ]),
    ]);
    outside = await mesh.with(startHttpApp(address.outside, HTTP, "outside"));
    await mesh.with(startTcpApp(address.outside, ECHO, echo));
    await mesh.with(startHttpApp(address.other, HTTP, "in the block"));
    egress = await mesh.waypoint({ name: "egress", address: address.egress, gateway: "egress" });
    const listen = (port: number, to: string): { listen: string; to: string } => ({
      listen: hostPort(inside, port),
      to,
    });
    client = await mesh.uproxy({
      name: "client",
      address: address.client,
      config: {
        outbound: {
          proxy: hostPort(inside, PORTS.proxy),
          unknown: "refuse",
          listeners: [
            listen(TO.straight, "straight.example.com:80"),
            listen(TO.guarded, "guarded.example.com:80"),
            listen(TO.guardedTcp, `guarded.example.com:${ECHO}`),
            listen(TO.refused, hostPort(address.outside, HTTP + 1)),
          ],
        },
      },
    });
  });

  after(() => mesh.stop());

  /** The answer to HTTP CONNECT: the status and our code. */
  async function connect(target: string): Promise<string> {
    const connection = await dial(inside, PORTS.proxy);
    connection.send(`CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n\r\n`);
    await connection.bytes(19);
    connection.close();
    const head = connection.received.toString("latin1");
    return [/^HTTP\/1\.1 (\d+)/.exec(head)?.[1], /culvert-code: (\S+)/.exec(head)?.[1]].filter(Boolean).join(" ");
  }

  /** The reply code of SOCKS5 (RFC 1928 section 6). */
  async function socks(host: string, port: number): Promise<number | undefined> {
    const connection = await dial(inside, PORTS.proxy);
    connection.send(Buffer.from([5, 1, 0]));
    await connection.bytes(2);
    const name = Buffer.from(host);
    connection.send(Buffer.from([5, 1, 0, 3, name.length, ...name, port >> 8, port & 255]));
    await connection.bytes(4);
    connection.close();
    return connection.received[3];
  }

  test("what is in no resource is refused at once on every way in, and logged", async () => {
    const target = hostPort(address.outside, HTTP);
    const unlisted = hostPort(address.outside, HTTP + 1);
    const accepted = outside.accepted;
    assert.equal(await connect(unlisted), "403 EGRESS_REFUSED");
    assert.equal(await connect("elsewhere.example.com:80"), "403 EGRESS_REFUSED");
    assert.equal(await socks("elsewhere.example.com", 80), 2);
    assert.equal(await attempt(inside, TO.refused).ended(), "ECONNRESET");
    for (const dst of [unlisted, "elsewhere.example.com:80"]) {
      const line = await client.access({ code: "EGRESS_REFUSED", "dst.addr": dst, direction: "outbound" });
      assert.ok(Number(line["duration_ms"]) < 1_000);
    }
    assert.equal(outside.accepted, accepted, `${target} was dialled`);
  });

  test("ports that an entry does not list are refused", async () => {
    assert.equal(await connect("straight.example.com:22"), "403 EGRESS_REFUSED");
    assert.equal(await connect(hostPort(address.other, 22)), "403 EGRESS_REFUSED");
  });

  test("resolution STATIC leads to the endpoints, and names the host in log and metrics", async () => {
    const { status, body } = await ask(`http://${hostPort(inside, TO.straight)}/x`);
    assert.equal(status, 200);
    assert.equal((JSON.parse(body) as Echoed).app, "outside");
    const line = await client.access({ "dst.service": "straight.example.com" });
    assert.equal(line["code"], undefined);
    const metrics = await ask(`http://${hostPort(client.address, PORTS.metrics)}/metrics`);
    assert.match(metrics.body, /istio_tcp_connections_opened_total\{[^}]*destination_service="straight\.example\.com"/);
  });

  test("resolution NONE passes on to an address of its own, DNS to the addresses of a name", async () => {
    assert.equal(await connect(hostPort(address.other, HTTP)), "200");
    await client.access({ "dst.service": "block.example.com", "dst.addr": hostPort(address.other, HTTP) });
    assert.equal(await connect("named.example.com:80"), "200");
    await client.access({ "dst.service": "named.example.com" });
    assert.equal(named.accepted, 1);
  });

  test("an egress waypoint decides by request, forwards, and names the host", async () => {
    const wire = await dialHttp(inside, TO.guarded);
    const allowed = await wire.ask(request("GET", "/public/x", { host: "guarded.example.com" }));
    assert.equal(allowed.status, 200);
    assert.equal((JSON.parse(allowed.text) as Echoed).app, "outside");
    const denied = await wire.ask(request("POST", "/public/x", { host: "guarded.example.com", "content-length": "0" }));
    assert.equal(verdictOf(denied), "403 DENIED_BY_POLICY");
    wire.close();
    const line = await egress.access({ method: "GET", response_code: 200 });
    assert.equal(line["upstream_cluster"], "default/guarded.example.com:80");
    await client.access({
      "dst.service": "guarded.example.com",
      "dst.hbone_addr": hostPort(address.egress, PORTS.hbone),
      "dst.identity": "spiffe://cluster.local/ns/default/sa/egress",
    });
    const metrics = await ask(`http://${hostPort(address.egress, PORTS.metrics)}/metrics`);
    assert.match(metrics.body, /istio_requests_total\{[^}]*destination_service="guarded\.example\.com"/);
  });

  test("an egress waypoint carries TCP as well", async () => {
    const connection = await dial(inside, TO.guardedTcp);
    connection.send("hello");
    assert.equal((await connection.bytes(5)).toString(), "hello");
    connection.close();
    await egress.access({ "dst.service": "guarded.example.com" });
  });
});
