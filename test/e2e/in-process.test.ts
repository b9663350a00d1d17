// A client in this process against real proxies: connections by hand, `http.request`, `fetch` and undici, straight and through a waypoint.
import assert from "node:assert/strict";
import { once } from "node:events";
import { request, type Agent, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import type { Socket } from "node:net";
import { peerOf, type MeshSocket } from "@culvert/in-process";
import { request as undiciRequest, type Dispatcher } from "undici";
import { echo, countThenAnswer, serveHttp, startTcpApp, type App } from "../support/apps.ts";
import { spiffeId } from "../support/identities.ts";
import { joinMesh, type Insider } from "../support/in-process.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { service, waypoint, workloadEntry } from "../support/resources.ts";
import { until, within } from "../support/until.ts";

const MIB = 1024 * 1024;
const PORT = { echo: 7001, count: 7002, kept: 7003, http: 8000, nobody: 7009 } as const;

/** An app that answers with what it has counted, or with as much as it is asked for. */
function startCounter(host: string, port: number): Promise<App> {
  return serveHttp(host, port, (incoming, answer) => {
    const wanted = Number(/^\/bytes\/(\d+)$/.exec(incoming.url ?? "")?.[1] ?? 0);
    if (wanted > 0) {
      answer.writeHead(200, { "content-length": wanted });
      const chunk = Buffer.alloc(64 * 1024, "x");
      let left = wanted;
      const more = (): void => {
        while (left > 0) {
          const part = chunk.subarray(0, Math.min(left, chunk.length));
          left -= part.length;
          if (!answer.write(part) && left > 0) return void answer.once("drain", more);
        }
        answer.end();
      };
      return more();
    }
    let bytes = 0;
    incoming.on("data", (chunk: Buffer) => void (bytes += chunk.length));
    incoming.on("end", () => answer.end(`${incoming.method} ${bytes}`));
  });
}

function get(agent: Agent, host: string, path: string): Promise<{ response: IncomingMessage; reused: boolean }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ agent, host, path }, (response) => {
      resolve({ response, reused: outgoing.reusedSocket });
    });
    outgoing.on("error", reject).end();
  });
}

describe("a client in this process", () => {
  let mesh: Mesh;
  let client: Insider;
  let server: Proxy;
  let counter: App;
  const held: Socket[] = [];

  before(async () => {
    mesh = await startMesh();
    const [clientAddress, serverAddress, waypointAddress] = [mesh.address(), mesh.address(), mesh.address()];
    mesh.write("mesh", [
      service("app", [
        { name: "tcp-echo", port: PORT.echo },
        { name: "tcp-count", port: PORT.count },
        { name: "tcp-kept", port: PORT.kept },
        { name: "tcp-nobody", port: PORT.nobody },
        { name: "http", port: 80, targetPort: PORT.http },
      ]),
      service("routed", [{ name: "http", port: 80, targetPort: PORT.http }], {
        app: "app",
        labels: { "istio.io/use-waypoint": "gate" },
      }),
      ...waypoint("gate", waypointAddress, { serviceAccount: "gate" }),
      workloadEntry("app", serverAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startTcpApp(serverAddress, PORT.echo, echo));
    await mesh.with(startTcpApp(serverAddress, PORT.count, countThenAnswer));
    await mesh.with(startTcpApp(serverAddress, PORT.kept, (socket) => held.push(socket)));
    counter = await mesh.with(startCounter(serverAddress, PORT.http));
    server = await mesh.uproxy({ name: "app", address: serverAddress });
    await mesh.waypoint({ name: "gate", gateway: "gate", address: waypointAddress });
    client = await joinMesh(mesh, { name: "client", address: clientAddress });
  });

  after(() => mesh.stop());

  /** Both sides of a new connection to the app that keeps its connections. */
  async function bothSides(): Promise<{ socket: MeshSocket; app: Socket }> {
    const count = held.length;
    const socket = client.mesh.connect({ host: "app.default", port: PORT.kept });
    await once(socket, "connect");
    return { socket, app: await until("the app's side of a connection", () => held[count]) };
  }

  test("connects, says who the peer is, carries bytes and half-closes", async () => {
    const socket = client.mesh.connect({ host: "app", port: PORT.count });
    assert.equal(socket.connecting, true);
    socket.write("before it is open");
    await once(socket, "connect");
    assert.equal(socket.peer, spiffeId("app"));
    socket.end(Buffer.alloc(3 * MIB));
    assert.equal(await text(socket), `${3 * MIB + 17} bytes`);
    const line = await client.access({ "dst.addr": `app:${PORT.count}`, direction: "outbound" });
    assert.equal(line["bytes_recv"], 3 * MIB + 17);
    assert.equal(line["dst.identity"], spiffeId("app"));
    assert.equal(line["src.identity"], spiffeId("client"));
    assert.equal(line["code"], undefined);
    await server.access({ direction: "inbound", "src.identity": spiffeId("client"), bytes_recv: 3 * MIB + 17 });
  });

  test("http.request: an idle connection that the server has ended is not taken for the next request", async () => {
    const agent = client.mesh.httpAgent({});
    const first = await get(agent, "app", "/");
    await text(first.response);
    const idle = await until("an idle connection", () => Object.values(agent.freeSockets).flat()[0]);
    const closed = once(idle, "close");
    for (const socket of counter.sockets) socket.end();
    await within("the end of the idle connection", closed);
    const { response, reused } = await get(agent, "app", "/");
    assert.deepEqual([reused, await text(response)], [false, "GET 0"]);
  });

  test("a reset of either side is a reset on the other, with its code", async () => {
    const { socket, app } = await bothSides();
    app.resetAndDestroy();
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "PEER_RESET");

    const other = await bothSides();
    const gone = once(other.app, "error");
    other.socket.resetAndDestroy();
    assert.equal(((await gone) as [NodeJS.ErrnoException])[0].code, "ECONNRESET");
  });

  test("closing it in order is an end for the app", async () => {
    const { socket, app } = await bothSides();
    app.resume();
    const ended = once(app, "end");
    socket.destroy();
    await within("the end of the app's side", ended);
    app.end();
    await once(app, "close");
    assert.equal(app.errored, null);
  });

  test("what leads nowhere is an error with a code, and one that nobody listens for harms nobody", async () => {
    for (const [to, code] of [
      [{ host: "app", port: PORT.nobody }, "PEER_UNAVAILABLE"],
      [{ host: "app", port: 1234 }, "DESTINATION_UNKNOWN"],
    ] as const) {
      const silent = client.mesh.connect(to);
      await new Promise((resolve) => silent.once("close", resolve));
      const [error] = (await once(client.mesh.connect(to), "error")) as [NodeJS.ErrnoException];
      assert.equal(error.code, code);
    }
    assert.throws(() => client.mesh.connect({ host: "app", port: 0 }), TypeError);
  });

  test("a signal gives up the wait, and ends what is open", async () => {
    const early = client.mesh.connect({ host: "app", port: PORT.kept, signal: AbortSignal.abort() });
    assert.equal(((await once(early, "error")) as [NodeJS.ErrnoException])[0].code, "ABORT_ERR");
    const controller = new AbortController();
    const late = client.mesh.connect({ host: "app", port: PORT.kept, signal: controller.signal });
    await once(late, "connect");
    const failed = once(late, "error");
    controller.abort();
    assert.equal(((await failed) as [NodeJS.ErrnoException])[0].code, "ABORT_ERR");
  });

  for (const host of ["app", "routed"]) {
    describe(host === "app" ? "straight" : "through a waypoint", () => {
      const peer = spiffeId(host === "app" ? "app" : "gate");

      test("http.request: the connection is kept and used again, and its peer is known", async () => {
        const agent = client.mesh.httpAgent();
        assert.equal(client.mesh.httpAgent(), agent);
        const reused: boolean[] = [];
        for (let count = 0; count < 5; count += 1) {
          const { response, reused: again } = await get(agent, host, "/");
          reused.push(again);
          assert.equal(peerOf(response), peer);
          assert.equal(await text(response), "GET 0");
        }
        assert.deepEqual(reused, [false, true, true, true, true]);
      });

      test("http.request: 100 MiB go up and come down, no faster than they are read", async () => {
        const agent = client.mesh.httpAgent({ keepAlive: false });
        const chunk = Buffer.alloc(256 * 1024);
        const outgoing = request({ agent, host, method: "POST" });
        for (let sent = 0; sent < 100 * MIB; sent += chunk.length) {
          if (!outgoing.write(chunk)) await once(outgoing, "drain");
        }
        const answered = once(outgoing, "response");
        outgoing.end();
        assert.equal(await text(((await answered) as [IncomingMessage])[0]), `POST ${100 * MIB}`);

        const { response } = await get(agent, host, `/bytes/${100 * MIB}`);
        let got = 0;
        for await (const part of response) got += (part as Buffer).length;
        assert.equal(got, 100 * MIB);
      });

      test("http.request: who leaves in the middle of a response leaves nothing behind", async () => {
        const others = counter.sockets.size;
        const agent = client.mesh.httpAgent({ keepAlive: false });
        const { response } = await get(agent, host, `/bytes/${100 * MIB}`);
        await once(response, "data");
        response.destroy();
        await until("the app to notice", () => counter.sockets.size <= others);

        const controller = new AbortController();
        const outgoing = request({ agent, host, path: `/bytes/${MIB}`, signal: controller.signal });
        outgoing.on("response", () => controller.abort()).end();
        const [error] = (await once(outgoing, "error")) as [NodeJS.ErrnoException];
        assert.equal(error.code, "ABORT_ERR");
      });

      test("fetch and undici", async () => {
        const dispatcher = await client.mesh.dispatcher();
        const url = `http://${host}.default/`;
        const fetched = await fetch(url, { dispatcher });
        assert.equal(await fetched.text(), "GET 0");
        const posted = await fetch(url, { dispatcher, method: "POST", body: Buffer.alloc(MIB) });
        assert.equal(await posted.text(), `POST ${MIB}`);
        const { body } = await undiciRequest(url, { dispatcher: dispatcher as unknown as Dispatcher });
        assert.equal(await body.text(), "GET 0");
        const large = await fetch(`${url}bytes/${20 * MIB}`, { dispatcher });
        assert.equal((await large.arrayBuffer()).byteLength, 20 * MIB);
        const controller = new AbortController();
        const cut = await fetch(`${url}bytes/${100 * MIB}`, { dispatcher, signal: controller.signal });
        controller.abort();
        await assert.rejects(cut.arrayBuffer(), { name: "AbortError" });
        await assert.rejects(fetch("http://app.default:1234/", { dispatcher }), (error: Error) => {
          assert.equal((error.cause as NodeJS.ErrnoException).code, "DESTINATION_UNKNOWN");
          return true;
        });
      });
    });
  }

  test("what is not in the mesh is reached as it is", async () => {
    const socket = client.mesh.connect({ host: "127.0.0.1", port: PORT.nobody });
    assert.equal(((await once(socket, "error")) as [NodeJS.ErrnoException])[0].code, "APP_REFUSED");
    const outside = await mesh.with(startTcpApp("127.0.0.1", 0, echo));
    const plain = client.mesh.connect({ host: "127.0.0.1", port: outside.port });
    plain.end(Buffer.alloc(MIB));
    let got = 0;
    for await (const part of plain) got += (part as Buffer).length;
    assert.equal(got, MIB);
    assert.equal(plain.peer, undefined);
  });

  test("metrics have the connections, and nothing of the process", () => {
    const metrics = client.mesh.metrics();
    assert.match(metrics, /istio_tcp_connections_opened_total\{.*destination_service_name="app"/);
    assert.match(metrics, /culvert_build_info\{component="in-process"/);
    assert.doesNotMatch(metrics, /process_cpu/);
  });
});
