// Plaintext to an app in the mesh: the truth table on real connections, and live ones under policies that change. What capture
// does in a pod is done here by addresses: the listener has the app's address and port, and the app itself is at another one.
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { openPeer, type Peer } from "../support/peer.ts";
import { TABLE, TABLE_APP, TABLE_CALLER, TABLE_PORT } from "../support/peer-authentication-table.ts";
import { authorizationPolicy, peerAuthentication, workloadEntry, type Resource } from "../support/resources.ts";
import { attempt, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const CLOSED = 8081;

/** How often a proxy has taken resources into use. */
function timesLoaded(proxy: Proxy): number {
  return proxy.log.filter(({ message }) => message === "resources in use").length;
}

describe("plaintext to an app in the mesh", () => {
  let mesh: Mesh;
  let server: Proxy;
  let peer: Peer;
  let address: string;
  const live: Socket[] = [];

  before(async () => {
    mesh = await startMesh();
    address = mesh.address();
    const appAddress = mesh.address();
    mesh.write("mesh", [workloadEntry(TABLE_APP, address, { serviceAccount: TABLE_APP })]);
    await mesh.with(
      startTcpApp(appAddress, TABLE_PORT, (socket) => {
        live.push(socket);
        echo(socket);
      }),
    );
    server = await mesh.uproxy({
      name: TABLE_APP,
      address,
      config: { inbound: { hbone: `${address}:15008`, plaintext: `${address}:${TABLE_PORT}`, app: appAddress } },
    });
    peer = await openPeer(mesh, TABLE_CALLER);
  });

  after(() => mesh.stop());

  /** Writes resources and waits until the uproxy has them in use. */
  async function use(resources: readonly Resource[]): Promise<void> {
    const earlier = timesLoaded(server);
    // The entry changes too, so that a row which adds nothing is a change as well.
    const labels = { row: String(earlier) };
    mesh.write("mesh", [workloadEntry(TABLE_APP, address, { serviceAccount: TABLE_APP, labels }), ...resources]);
    await until("the resources to be in use", () => timesLoaded(server) > earlier);
  }

  async function overPlaintext(): Promise<string> {
    const lines = server.log.length;
    const connection = attempt(address, TABLE_PORT);
    connection.finish("hello");
    const ended = await connection.ended();
    connection.close();
    const line = await until("the line", () => server.log.slice(lines).find(({ target }) => target === "access"));
    if (ended === "end") assert.equal(connection.received.toString(), "hello");
    const { code = "open" } = line;
    assert.ok(typeof code === "string");
    assert.equal(ended, code === "open" ? "end" : "ECONNRESET");
    return code;
  }

  async function overMutualTls(): Promise<string> {
    const asked = await peer.ask(server, `${address}:${TABLE_PORT}`);
    return asked.replace(/^401 /, "");
  }

  for (const row of TABLE) {
    test(`${row.name}: plaintext ${row.plaintext}, mutual TLS ${row.mtls}`, async () => {
      await use(row.resources);
      assert.equal(await overPlaintext(), row.plaintext);
      assert.equal(await overMutualTls(), row.mtls);
    });
  }

  test("the log knows both addresses and no identity of the caller", async () => {
    await use([]);
    const connection = await dial(address, TABLE_PORT);
    connection.finish("twelve bytes");
    assert.equal(await connection.ended(), "end");
    const line = await server.access({ direction: "inbound", bytes_recv: 12, bytes_sent: 12 });
    assert.equal(line["dst.addr"], `${address}:${TABLE_PORT}`);
    assert.equal(line["src.identity"], undefined);
    assert.equal(line["dst.hbone_addr"], undefined);
  });

  for (const [name, change, code] of [
    ["STRICT", peerAuthentication("own", "STRICT", { app: TABLE_APP }), "MTLS_REQUIRED"],
    ["a DENY policy", authorizationPolicy("p", "DENY", { app: TABLE_APP }, [{}]), "POLICY_CHANGED"],
  ] as const) {
    test(`${name} ends live connections within a second, and leaves tunnels by their own rules`, async () => {
      await use([]);
      const connection = await dial(address, TABLE_PORT);
      connection.send("x");
      await connection.bytes(1);
      const began = performance.now();
      const changed = use([change]);
      assert.equal(await connection.ended(), "ECONNRESET");
      const tookMs = performance.now() - began;
      assert.ok(tookMs < 1000, `the connection outlived it by ${tookMs} ms`);
      await changed;
      await server.access({ direction: "inbound", code, bytes_recv: 1 });
      assert.equal(await overMutualTls(), name === "STRICT" ? "open" : "DENIED_BY_POLICY");
    });
  }

  test("half-close and resets are carried both ways", async () => {
    await use([]);
    const count = live.length;
    const connection = await dial(address, TABLE_PORT);
    connection.send("x");
    await connection.bytes(1);
    const app = await until("the app's side", () => live[count]);
    app.resetAndDestroy();
    assert.equal(await connection.ended(), "ECONNRESET");
    await server.access({ direction: "inbound", code: "APP_RESET" });
  });
});

test("who dials the capture port itself, or an app that is not there, is reset with the reason in the log", async () => {
  const mesh = await startMesh();
  try {
    const address = mesh.address();
    mesh.write("mesh", [workloadEntry("app", address, { serviceAccount: "app" })]);
    const config = { inbound: { plaintext: `${address}:15006`, hbone: `${address}:15008` } };
    const server = await mesh.uproxy({ name: "app", address, config });
    const itself = attempt(address, 15_006);
    assert.equal(await itself.ended(), "ECONNRESET");
    await server.access({ direction: "inbound", code: "SELF_CALL" });
  } finally {
    await mesh.stop();
  }
});

test("an app that is not there is a reset", async () => {
  const mesh = await startMesh();
  try {
    const address = mesh.address();
    mesh.write("mesh", [workloadEntry("app", address, { serviceAccount: "app" })]);
    const inbound = { plaintext: `${address}:${CLOSED}`, hbone: `${address}:15008`, app: mesh.address() };
    const server = await mesh.uproxy({ name: "app", address, config: { inbound } });
    const connection = attempt(address, CLOSED);
    assert.equal(await connection.ended(), "ECONNRESET");
    await server.access({ direction: "inbound", code: "APP_REFUSED" });
  } finally {
    await mesh.stop();
  }
});
