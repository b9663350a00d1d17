// Real peers: Envoy as tunnel client to a uproxy, as tunnel server from a uproxy, and as the waypoint between two uproxies.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { countThenAnswer, echo, startHttpApp, startTcpApp, type Echoed } from "../support/apps.ts";
import { envoyWaypoint, startEnvoy, tunnelClient, tunnelServer, type Address } from "../support/envoy.ts";
import { ask } from "../support/http.ts";
import { spiffeId, TRUST_DOMAIN } from "../support/identities.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { authorizationPolicy, service, waypoint, workloadEntry } from "../support/resources.ts";
import { attempt, converse, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const MIB = 1024 * 1024;
const HTTP = 8080;
const ECHO = 7001;
const COUNT = 7002;
const CLOSED = 7004;
const FIRST = 7003;
const BACKEND_PORT = 80;

const show = ({ host, port }: Address): string => hostPort(host, port);

describe("Envoy as tunnel client of a uproxy", needs({ commands: ["envoy"] }), () => {
  let mesh: Mesh;
  let server: Proxy;
  let envoyAddress: string;

  before(async () => {
    mesh = await startMesh();
    const address = mesh.address();
    envoyAddress = mesh.address();
    mesh.write("mesh", [
      service("app", [{ name: "tcp", port: ECHO }]),
      workloadEntry("app", address, { serviceAccount: "app" }),
      workloadEntry("envoy", envoyAddress, { serviceAccount: "envoy" }),
    ]);
    await mesh.with(startTcpApp(address, ECHO, echo));
    await mesh.with(startTcpApp(address, COUNT, countThenAnswer));
    server = await mesh.uproxy({ name: "app", address });
    const target = (port: number, authority: string): { listen: Address; authority: string } => ({
      listen: { host: envoyAddress, port },
      authority,
    });
    await mesh.with(
      startEnvoy({
        name: "envoy",
        folder: mesh.folder,
        ready: { host: envoyAddress, port: ECHO },
        parts: [
          tunnelClient({
            identity: await mesh.issue("envoy"),
            peer: { host: address, port: PORTS.hbone },
            expected: spiffeId("app"),
            targets: [
              target(ECHO, hostPort(address, ECHO)),
              target(COUNT, hostPort(address, COUNT)),
              target(CLOSED, hostPort(address, CLOSED)),
              target(7011, `app.default.svc.cluster.local:${ECHO}`),
              target(7012, "127.0.0.1:22"),
            ],
          }),
        ],
      }),
    );
  });

  after(() => mesh.stop());

  test("four mebibytes there and back, and the identity of Envoy in the log", async () => {
    const data = randomBytes(4 * MIB);
    const { received, ended } = await converse(envoyAddress, ECHO, data);
    assert.ok(received.equals(data));
    assert.equal(ended, "end");
    const line = await server.access({ bytes_recv: 4 * MIB });
    assert.equal(line["src.identity"], spiffeId("envoy"));
    assert.equal(line["code"], undefined);
  });

  test("the client's half-close reaches the app", async () => {
    const { received } = await converse(envoyAddress, COUNT, Buffer.alloc(MIB));
    assert.equal(received.toString(), `${MIB} bytes`);
  });

  test("a service name as authority leads to the own app", async () => {
    const { received } = await converse(envoyAddress, 7011, "by name");
    assert.equal(received.toString(), "by name");
  });

  test("an address that is not this workload's is refused", async () => {
    const connection = attempt(envoyAddress, 7012);
    assert.notEqual(await connection.ended(), "");
    assert.equal(connection.received.length, 0);
    await server.access({ direction: "inbound", code: "DESTINATION_NOT_MINE" });
  });

  test("an app that is not there is told by status, and no byte comes", async () => {
    const connection = attempt(envoyAddress, CLOSED);
    await connection.ended();
    assert.equal(connection.received.length, 0);
    await server.access({ direction: "inbound", code: "APP_REFUSED" });
  });

  test("250 connections at once, over as many sessions as our limit of streams asks for", async () => {
    const open = await Promise.all(Array.from({ length: 250 }, () => dial(envoyAddress, ECHO)));
    for (const connection of open) connection.send("here");
    await Promise.all(open.map((connection) => connection.bytes(4)));
    for (const connection of open) connection.finish();
    assert.deepEqual([...new Set(await Promise.all(open.map((connection) => connection.ended())))], ["end"]);
  });

  test("a policy change ends Envoy's live tunnel", async () => {
    const connection = await dial(envoyAddress, ECHO);
    connection.send("live");
    await connection.bytes(4);
    mesh.write("policy", [
      authorizationPolicy("not-envoy", "DENY", { app: "app" }, [
        { from: [{ source: { principals: ["cluster.local/ns/default/sa/envoy"] } }] },
      ]),
    ]);
    await connection.ended();
    await server.access({ code: "POLICY_CHANGED" });
    mesh.remove("policy");
  });
});

describe("Envoy as tunnel server of a uproxy", needs({ commands: ["envoy"] }), () => {
  let mesh: Mesh;
  let client: Proxy;

  before(async () => {
    mesh = await startMesh();
    const clientAddress = mesh.address();
    const envoyAddress = mesh.address();
    mesh.write("mesh", [
      service(
        "app",
        [ECHO, COUNT, FIRST, CLOSED].map((port) => ({ name: `tcp-${port}`, port })),
      ),
      workloadEntry("app", envoyAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startTcpApp(envoyAddress, ECHO, echo));
    await mesh.with(startTcpApp(envoyAddress, COUNT, countThenAnswer));
    await mesh.with(startTcpApp(envoyAddress, FIRST, (socket) => socket.resume().end("first")));
    const listen = { host: envoyAddress, port: PORTS.hbone };
    await mesh.with(
      startEnvoy({
        name: "envoy",
        folder: mesh.folder,
        ready: listen,
        parts: [
          tunnelServer({
            identity: await mesh.issue("app"),
            trustDomain: TRUST_DOMAIN,
            listen,
            targets: [ECHO, COUNT, FIRST].map((port) => ({
              authority: hostPort(envoyAddress, port),
              apps: [{ host: envoyAddress, port }],
            })),
          }),
        ],
      }),
    );
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: [ECHO, COUNT, FIRST, CLOSED].map((port) => ({
        listen: hostPort(mesh.inside(clientAddress), port),
        to: `app:${port}`,
      })),
    });
  });

  after(() => mesh.stop());

  test("four mebibytes there and back", async () => {
    const data = randomBytes(4 * MIB);
    const { received, ended } = await converse(client.inside, ECHO, data);
    assert.equal(ended, "end");
    assert.ok(received.equals(data));
    await client.access({ bytes_sent: 4 * MIB, "dst.identity": spiffeId("app") });
  });

  test("the client's half-close reaches the app", async () => {
    const { received } = await converse(client.inside, COUNT, Buffer.alloc(MIB));
    assert.equal(received.toString(), `${MIB} bytes`);
  });

  test("an app that ends its half first: Envoy resets what is left, and what came before is whole", async () => {
    const connection = await dial(client.inside, FIRST);
    assert.equal(await connection.ended(), "end");
    assert.equal(connection.received.toString(), "first");
    connection.close();
    await client.access({ direction: "outbound", "dst.service": "app.default.svc.cluster.local", bytes_sent: 5 });
  });

  test("404 means that there is no such destination", async () => {
    assert.equal(await attempt(client.inside, CLOSED).ended(), "ECONNRESET");
    await client.access({ code: "PEER_NO_DESTINATION" });
  });

  test("250 connections at once although Envoy allows 100 on a session and ends it for one more", async () => {
    const open = await Promise.all(Array.from({ length: 250 }, () => dial(client.inside, ECHO)));
    for (const connection of open) connection.send("here");
    await Promise.all(open.map((connection) => connection.bytes(4)));
    for (const connection of open) connection.finish();
    assert.deepEqual([...new Set(await Promise.all(open.map((connection) => connection.ended())))], ["end"]);
  });
});

describe("Envoy as the waypoint between two uproxies", needs({ commands: ["envoy"] }), () => {
  let mesh: Mesh;
  let client: Proxy;
  let server: Proxy;

  before(async () => {
    mesh = await startMesh();
    const clientAddress = mesh.address();
    const serverAddress = mesh.address();
    const waypointAddress = mesh.address();
    mesh.write("mesh", [
      service("app", [{ name: "http", port: BACKEND_PORT, targetPort: HTTP, appProtocol: "http" }], {
        labels: { "istio.io/use-waypoint": "waypoint" },
      }),
      workloadEntry("app", serverAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
      ...waypoint("waypoint", waypointAddress, { serviceAccount: "waypoint" }),
      authorizationPolicy("only-the-waypoint", "ALLOW", { app: "app" }, [
        { from: [{ source: { principals: ["cluster.local/ns/default/sa/waypoint"] } }] },
      ]),
    ]);
    await mesh.with(startHttpApp(serverAddress, HTTP, "app"));
    server = await mesh.uproxy({ name: "app", address: serverAddress });
    const listen = { host: waypointAddress, port: PORTS.hbone };
    await mesh.with(
      startEnvoy({
        name: "waypoint",
        folder: mesh.folder,
        ready: listen,
        parts: [
          envoyWaypoint({
            identity: await mesh.issue("waypoint"),
            trustDomain: TRUST_DOMAIN,
            listen,
            authorities: [`app.default.svc.cluster.local:${BACKEND_PORT}`],
            backend: {
              authority: show({ host: serverAddress, port: HTTP }),
              peer: { host: serverAddress, port: PORTS.hbone },
              expected: spiffeId("app"),
            },
          }),
        ],
      }),
    );
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: [{ listen: hostPort(mesh.inside(clientAddress), HTTP), to: `app:${BACKEND_PORT}` }],
    });
  });

  after(() => mesh.stop());

  test("a request passes the waypoint, whose identity the app's uproxy sees", async () => {
    const answer = await ask(`http://${hostPort(client.inside, HTTP)}/path?q=1`, {
      method: "POST",
      headers: { "x-mine": "kept" },
      body: "body",
    });
    assert.equal(answer.status, 200, answer.body);
    const echoed = JSON.parse(answer.body) as Echoed;
    assert.equal(echoed.url, "/path?q=1");
    assert.equal(echoed.body, "body");
    assert.ok(echoed.rawHeaders.includes("kept"));
    assert.match(echoed.rawHeaders.join(" "), /x-request-id/i, "Envoy's router has been there");
    const atServer = await until("a connection in the log of the app's uproxy", () =>
      server.program.exit === undefined ? connectionsOf(server) : undefined,
    );
    assert.equal(atServer["src.identity"], spiffeId("waypoint"));
    const atClient = await client.access({ direction: "outbound", "dst.service": "app.default.svc.cluster.local" });
    assert.equal(atClient["dst.identity"], spiffeId("waypoint"));
  });

  test("the way around the waypoint is closed by policy", async () => {
    const proxied = await dial(client.inside, PORTS.proxy);
    proxied.send(`CONNECT ${hostPort(server.address, HTTP)} HTTP/1.1\r\n\r\n`);
    await proxied.bytes(12);
    assert.match(proxied.received.toString(), /^HTTP\/1\.1 403/);
    proxied.close();
  });

  test("a hundred and fifty requests at once, each over a tunnel of its own", async () => {
    const answers = await Promise.all(
      Array.from({ length: 150 }, (_, index) => ask(`http://${hostPort(client.inside, HTTP)}/${index}`)),
    );
    assert.deepEqual(
      answers.map(({ body }) => (JSON.parse(body) as Echoed).url),
      answers.map((_, index) => `/${index}`),
    );
  });
});

/** A connection from the waypoint stays open for the next request, so it is asked for, not waited for in the log. */
async function connectionsOf(proxy: Proxy): Promise<Readonly<Record<string, unknown>> | undefined> {
  const ended = proxy.log.find((line) => line["target"] === "access" && line["direction"] === "inbound");
  if (ended !== undefined) return ended;
  const { body } = await ask(`http://${proxy.admin}/connections`);
  return /sa\/waypoint/.test(body) ? { "src.identity": spiffeId("waypoint") } : undefined;
}
