// client → uproxy → waypoint → uproxy → application: connections that TCPRoutes lead by weight, and TLSRoutes by the name of the
// server, with the certificates of the applications at the client's end. Needs `openssl` and `curl`.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, connect, type Server } from "node:tls";
import { after, before, beforeEach, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { smtp, startTcpApp } from "../support/apps.ts";
import { mint, type Minted } from "../support/ca.ts";
import { command } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { run } from "../support/process.ts";
import { service, serviceEntry, streamRoute, workloadEntry, type Resource } from "../support/resources.ts";
import { startShop, type Shop } from "../support/shop.ts";
import { attempt, dial } from "../support/tcp.ts";
import { within } from "../support/until.ts";

/** Ports of the service `gate`: TCP, and one of which nothing is declared. */
const TCP = 8601;
const ANY = 8602;
const MAIL = 8603;
/** Of what lies elsewhere. */
const OTHER = 8604;

const NAMES = ["a.example.com", "b.example.com"] as const;

describe("connections that routes lead", needs({ commands: ["openssl", "curl"] }), () => {
  let shop: Shop;
  let ca: Minted;
  const servers: Server[] = [];

  before(async () => {
    ca = await mint(undefined, { subject: "CN=Apps", ca: {}, keyUsage: ["keyCertSign"], extendedKeyUsage: [] });
    const ports = [
      { name: "tcp", port: TCP, appProtocol: "tcp" },
      { name: "any", port: ANY },
      { name: "mail", port: MAIL, appProtocol: "tcp" },
    ];
    const one = (name: string, version: string): Resource => ({
      ...service(name, []),
      spec: { selector: { app: "shop", version }, ports },
    });
    shop = await startShop({
      apps: 2,
      more: () => [
        service("gate", ports, { app: "shop", labels: { "istio.io/use-waypoint": "waypoint" } }),
        one("gate-a", "v1"),
        one("gate-b", "v2"),
      ],
      listeners: () => Object.fromEntries([TCP, ANY, MAIL].map((port) => [port, `gate:${port}`])),
    });
    for (const [index, { address }] of shop.apps.entries()) {
      const name = NAMES[index] ?? "";
      const { chainPem: cert, keyPem: key } = await mint(ca, { dns: [name] });
      for (const port of [TCP, ANY]) {
        const server = createServer({ cert, key }, (socket) => {
          socket.on("error", () => {});
          socket.end(`HTTP/1.0 200 OK\r\n\r\n${name} for ${String(socket.servername)}`);
        });
        server.on("tlsClientError", () => {});
        servers.push(server);
        await once(server.listen(port, address), "listening");
      }
      await shop.mesh.with(startTcpApp(address, MAIL, (socket) => (index === 0 ? smtp(socket) : void socket.end("b"))));
    }
  });
  beforeEach(() => shop.put("routes", []));
  after(async () => {
    for (const server of servers) server.close();
    await shop.mesh.stop();
  });

  /** What the application says to a client of the runtime's, which holds it to its certificate. */
  async function ask(port: number, servername: string): Promise<string> {
    const socket = connect({ host: shop.client.inside, port, servername, ca: ca.chainPem });
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    await within(`an answer for ${servername}`, once(socket, "end"));
    return Buffer.concat(chunks).toString().split("\r\n\r\n")[1] ?? "";
  }

  test("a TLSRoute leads by the server's name, exact before wildcard, to the application that has the certificate", async () => {
    await shop.put("routes", [
      streamRoute("a", "gate", [{ name: "gate-a", port: TCP }], [NAMES[0]]),
      streamRoute("rest", "gate", [{ name: "gate-b", port: ANY }], ["*.example.com"]),
    ]);
    for (const port of [TCP, ANY]) {
      for (const name of NAMES) assert.equal(await ask(port, name), `${name} for ${name}`);
    }
    const line = await shop.waypoint.access({ requested_server_name: NAMES[1], "dst.workload": "shop-2" });
    assert.deepEqual([line["route"], line["rule"], line["code"]], ["default/rest", "rules[0]", undefined]);
    const refused = connect({ host: shop.client.inside, port: TCP, servername: "c.example.org" });
    const [error] = (await within("the refusal", once(refused, "error"))) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNRESET");
    await shop.waypoint.access({ code: "ROUTE_NOT_FOUND", "dst.service": "gate.default.svc.cluster.local" });
  });

  test("openssl and curl come through", async () => {
    await shop.put("routes", [streamRoute("b", "gate", [{ name: "gate-b", port: TCP }], [NAMES[1]])]);
    const target = hostPort(shop.client.inside, TCP);
    const sClient = ["s_client", "-connect", target, "-quiet", "-servername"];
    const { stdout } = await run(command("openssl"), [...sClient, NAMES[1].toUpperCase()]);
    assert.match(stdout, /b\.example\.com for B\.EXAMPLE\.COM/i);
    const curl = ["-sk", "--connect-to", `${NAMES[1]}:443:${target}`, `https://${NAMES[1]}/`];
    assert.equal((await run(command("curl"), curl)).stdout, `${NAMES[1]} for ${NAMES[1]}`);
    const { code } = await run(command("openssl"), [...sClient.slice(0, -1), "-noservername"]);
    assert.notEqual(code, 0);
  });

  test("what does not begin with a ClientHello is refused where a TLSRoute is", async () => {
    await shop.put("routes", [streamRoute("any", "gate", [{ name: "gate-a", port: TCP }], [])]);
    for (const said of ["GET / HTTP/1.1\r\n\r\n", "EHLO there\r\n", "\x16\x03\x01\x00\x00"]) {
      const connection = await dial(shop.client.inside, TCP);
      connection.send(said);
      assert.equal(await connection.ended(), "ECONNRESET", JSON.stringify(said));
    }
    const line = await shop.waypoint.access({ code: "CLIENT_HELLO_REFUSED" });
    assert.equal(line["dst.service"], "gate.default.svc.cluster.local");
  });

  test("a TCPRoute leads to a Service of another namespace, and to a host outside the mesh", async () => {
    const { mesh } = shop;
    const said = async (): Promise<string> => {
      const connection = await dial(shop.client.inside, MAIL);
      const text = (await connection.bytes(3)).toString();
      connection.close();
      return text;
    };
    const [far, outside] = [mesh.address(), mesh.address()];
    mesh.write("far", [
      service("far", [{ name: "tcp", port: OTHER, targetPort: MAIL, appProtocol: "tcp" }], { namespace: "far" }),
      workloadEntry("far-1", far, { namespace: "far", serviceAccount: "far-1", app: "far" }),
      serviceEntry("mail", "mail.example.org", {
        ports: [{ number: OTHER, name: "tcp", protocol: "TCP" }],
        location: "MESH_EXTERNAL",
        resolution: "STATIC",
        endpoints: [{ address: outside }],
      }),
    ]);
    await mesh.with(startTcpApp(far, MAIL, (socket) => void socket.end("far")));
    await mesh.with(startTcpApp(outside, OTHER, (socket) => void socket.end("out")));
    await mesh.uproxy({ name: "far-1", namespace: "far", address: far });
    await shop.put("routes", [streamRoute("far", "gate", [{ name: "far", namespace: "far", port: OTHER }])]);
    assert.equal(await said(), "far");
    await shop.waypoint.access({ route: "default/far", "dst.namespace": "far", "dst.workload": "far-1" });
    const host = { group: "networking.istio.io", kind: "Hostname", name: "mail.example.org", port: OTHER };
    await shop.put("routes", [streamRoute("out", "gate", [host])]);
    assert.equal(await said(), "out");
    await shop.waypoint.access({ route: "default/out", "dst.addr": hostPort(outside, OTHER) });
  });

  test("a TCPRoute shares connections by weight, also with a server that speaks first, and what is invalid has its share refused", async () => {
    const share = async (): Promise<Map<string, number>> => {
      const counts = new Map<string, number>();
      for (let i = 0; i < 40; i += 1) {
        const connection = attempt(shop.client.inside, MAIL);
        const said = await Promise.race([
          connection.bytes(1).then((bytes) => bytes.toString()),
          connection.ended().then((how) => (how === "end" ? connection.received.toString() : how)),
        ]);
        const who = said.startsWith("2") ? "a" : said;
        counts.set(who, (counts.get(who) ?? 0) + 1);
        connection.close();
      }
      return counts;
    };
    const [a, b] = [
      { name: "gate-a", port: MAIL, weight: 1 },
      { name: "gate-b", port: MAIL, weight: 1 },
    ];
    await shop.put("routes", [streamRoute("half", "gate", [a, b])]);
    const half = await share();
    assert.deepEqual([...half.keys()].toSorted(), ["a", "b"]);
    await shop.put("routes", [streamRoute("none", "gate", [a, { ...b, weight: 0 }])]);
    assert.deepEqual([...(await share()).keys()], ["a"]);
    await shop.put("routes", [streamRoute("gone", "gate", [a, { name: "gone", port: 1, weight: 1 }])]);
    assert.deepEqual([...(await share()).keys()].toSorted(), ["ECONNRESET", "a"]);
    await shop.waypoint.access({ code: "BACKEND_INVALID", route: "default/gone" });
  });
});
