// PROXY protocol v2 on both sides, with HAProxy as the one who knows it: in front of an explicit listener, and as the app.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { readProxyHeader, writeProxyHeader } from "@culvert/shared/net/proxy-protocol.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { command } from "../support/env.ts";
import { ip } from "../support/fixtures.ts";
import { spiffeId } from "../support/identities.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { openPeer } from "../support/peer.ts";
import { startProgram } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { accepts, attempt, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const ECHO = 7001;
const TOLD = 8080;
const RAW = 8081;
const FRONT = 9000;
const PROXIED = 9001;
const DIRECT = 9002;
const VIP = "10.96.7.7";

describe("PROXY protocol v2", needs({ commands: ["haproxy"] }), () => {
  let mesh: Mesh;
  let client: Proxy;
  let server: Proxy;
  const raw: Socket[] = [];

  before(async () => {
    mesh = await startMesh();
    const [clientAddress, appAddress] = [mesh.address(), mesh.address()];
    mesh.write("mesh", [
      service(
        "app",
        [
          { name: "tcp-echo", port: ECHO },
          { name: "http", port: 80, targetPort: TOLD },
          { name: "tcp-raw", port: 81, targetPort: RAW },
        ],
        { clusterIP: VIP },
      ),
      workloadEntry("app", appAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startTcpApp(appAddress, ECHO, echo));
    await mesh.with(startTcpApp(appAddress, RAW, (socket) => raw.push(socket)));
    await startHaproxy(mesh, {
      front: { listen: `${clientAddress}:${FRONT}`, to: `${clientAddress}:${PROXIED}` },
      app: `${appAddress}:${TOLD}`,
    });
    server = await mesh.uproxy({
      name: "app",
      address: appAddress,
      config: { inbound: { hbone: `${appAddress}:15008`, proxyProtocol: [TOLD, RAW] } },
    });
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      config: {
        outbound: {
          listeners: [
            { listen: `${clientAddress}:${PROXIED}`, to: `app:${ECHO}`, proxyProtocol: "v2" },
            { listen: `${clientAddress}:${DIRECT}`, to: "app:80" },
          ],
        },
      },
    });
  });

  after(() => mesh.stop());

  test("HAProxy in front: its client is the source in our log", async () => {
    const connection = await dial(client.address, FRONT);
    connection.send("hello");
    assert.equal((await connection.bytes(5)).toString(), "hello");
    const { address, port } = connection.socket.address() as AddressInfo;
    connection.finish();
    assert.equal(await connection.ended(), "end");
    await client.access({ "src.addr": `${address}:${port}`, "dst.workload": "app", bytes_recv: 5 });
  });

  test("bytes that come with the header are not lost, and what they claim is what is logged", async () => {
    const header = writeProxyHeader({ ip: ip("192.0.2.7"), port: 4711 }, { ip: ip("192.0.2.8"), port: 80 }, []);
    const connection = await dial(client.address, PROXIED);
    connection.finish(Buffer.concat([header, Buffer.from("at once")]));
    assert.equal(await connection.ended(), "end");
    assert.equal(connection.received.toString(), "at once");
    await client.access({ "src.addr": "192.0.2.7:4711" });
  });

  test("a header in pieces, of one that speaks for itself, is taken too", async () => {
    const connection = await dial(client.address, PROXIED);
    const header = Buffer.from("0d0a0d0a000d0a515549540a20000000", "hex");
    for (const byte of header) connection.send(Buffer.of(byte));
    connection.finish("local");
    assert.equal(await connection.ended(), "end");
    assert.equal(connection.received.toString(), "local");
    const { address } = connection.socket.address() as Partial<AddressInfo>;
    await until("the line", () =>
      client.log.find((line) => line["bytes_recv"] === 5 && String(line["src.addr"]).startsWith(address ?? "127.")),
    );
  });

  for (const [name, bytes] of [
    ["version 1", "PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n"],
    ["no header at all", "GET / HTTP/1.1\r\n\r\n"],
  ] as const) {
    test(`${name} is reset, and the log says why`, async () => {
      const connection = attempt(client.address, PROXIED);
      connection.send(bytes);
      assert.equal(await connection.ended(), "ECONNRESET");
      await client.logged({ message: "client refused", code: "PROXY_HEADER_MALFORMED" });
    });
  }

  test("HAProxy as the app: it sees who called, and what was asked for", async () => {
    const connection = await dial(client.address, DIRECT);
    connection.send("GET / HTTP/1.0\r\n\r\n");
    assert.equal(await connection.ended(), "end");
    connection.finish();
    const [source, destination] = connection.received.toString().trim().split("\r\n").at(-1)?.split(" ") ?? [];
    const line = await server.access({ direction: "inbound", "dst.addr": `${server.address}:${TOLD}` });
    assert.equal(source, line["src.addr"]);
    assert.equal(destination, `${server.address}:${TOLD}`);
  });

  test("the fields hold the caller's identity and the service, and the header is no byte of the connection", async () => {
    const peer = await openPeer(mesh, "client");
    const tunnel = await peer.tunnel(server, "app.default.svc.cluster.local:81");
    const socket = await until("the app's socket", () => raw[0]);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    tunnel.write("first");
    const bytes = await until("the first bytes", () => {
      const all = Buffer.concat(chunks);
      return all.toString("latin1").endsWith("first") ? all : undefined;
    });
    const header = readProxyHeader(bytes);
    assert.ok(header !== undefined && !isFailure(header));
    assert.equal(bytes.subarray(header.consumed).toString(), "first");
    const field = (type: number): string =>
      Buffer.from(header.fields.find((one) => one.type === type)?.value ?? []).toString();
    assert.equal(field(0xd0), spiffeId("client"));
    assert.equal(field(0xd1), "app.default.svc.cluster.local");
    assert.equal([...bytes.subarray(20, 24)].join("."), VIP, "asked for by name, so by the service's address");
    assert.equal(bytes.readUInt16BE(26), 81);
    tunnel.destroy();
    const line = await server.access({ "dst.addr": `${server.address}:${RAW}` });
    assert.equal(line["bytes_recv"], 5);
  });
});

interface HaproxyRoles {
  /** In front of a listener that wants the header. */
  readonly front: { readonly listen: string; readonly to: string };
  /** An app that wants the header and answers with what it says. */
  readonly app: string;
}

async function startHaproxy(mesh: Mesh, { front, app }: HaproxyRoles): Promise<void> {
  const file = join(mesh.folder, "haproxy.cfg");
  writeFileSync(
    file,
    `global
  maxconn 100
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen front
  mode tcp
  bind ${front.listen}
  server uproxy ${front.to} send-proxy-v2 proxy-v2-options crc32c
frontend app
  mode http
  bind ${app} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst]:%[dst_port]"
`,
  );
  const program = startProgram({ name: "haproxy", command: command("haproxy"), args: ["-db", "-f", file] });
  mesh.atEnd(() => program.kill());
  const [host = "", port = ""] = app.split(":");
  await program.watch("its ports", () => accepts(host, Number(port)));
}
