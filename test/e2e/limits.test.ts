// Shares and limits of real uproxies: half-closed clients, a reader that does not read, idle and old connections; and a change
// of leaf and root while connections come and go.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { countThenAnswer, startTcpApp } from "../support/apps.ts";
import { identityOf as filesOf, MeshAuthority } from "../support/identities.ts";
import { writeWhole } from "../support/identity.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { descriptors } from "../support/proc.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { converse, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const COUNT = 7001;
const SILENT = 7002;
const FLOOD = 7003;
const HALF_CLOSED = 600;
const FLOWS = 99;
const FLOW_BYTES = 1024 * 1024;

function changes(proxy: Proxy): number {
  return proxy.log.filter(({ message }) => message === "identity changed").length;
}

function read(path: string): Promise<string> {
  return readFile(path, "utf8");
}

describe("shares and limits", () => {
  let mesh: Mesh;
  let client: Proxy;
  let server: Proxy;

  before(async () => {
    mesh = await startMesh();
    const [clientAddress, serverAddress] = [mesh.address(), mesh.address()];
    const ports = [COUNT, SILENT, FLOOD];
    mesh.write("mesh", [
      service(
        "app",
        ports.map((port) => ({ name: `tcp-${port}`, port })),
      ),
      workloadEntry("app", serverAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startTcpApp(serverAddress, COUNT, countThenAnswer));
    await mesh.with(startTcpApp(serverAddress, SILENT, (socket) => void socket.on("error", () => undefined)));
    await mesh.with(
      startTcpApp(serverAddress, FLOOD, (socket) => {
        socket.on("error", () => undefined);
        socket.once("data", (chunk) => {
          if (chunk.toString() === "some") socket.end(Buffer.alloc(FLOW_BYTES, 1));
          else socket.write(Buffer.alloc(16 * FLOW_BYTES, 2));
        });
      }),
    );
    const limits = {
      halfClosedIdle: "2s",
      connectionIdle: "3s",
      maxConnectionAge: "1h",
      rotationDrain: "1s",
      idleSession: "1s",
    };
    server = await mesh.uproxy({ name: "app", address: serverAddress, config: { limits } });
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: ports.map((port) => ({ listen: `${clientAddress}:${port}`, to: `app:${port}` })),
      config: { limits },
    });
  });

  after(() => mesh.stop());

  test("half-closed clients whose apps say nothing are ended, and their descriptors come back", async () => {
    assert.equal((await converse(client.address, COUNT, "warm")).ended, "end");
    const held = (): number => descriptors(client.program.pid) + descriptors(server.program.pid);
    const baseline = held();
    const connections = await Promise.all(
      Array.from({ length: HALF_CLOSED }, async () => {
        const connection = await dial(client.address, SILENT);
        connection.finish("half");
        return connection;
      }),
    );
    await until("the connections", () => held() >= baseline + HALF_CLOSED);
    await Promise.all(connections.map((connection) => connection.ended()));
    await until("the descriptors", () => held() <= baseline + 8);
    const line = await client.access({ code: "DOWNSTREAM_CLOSED" });
    assert.match(String(line["error"]), /half-closed and silent|reset/);
  });

  test("one reader that does not read stops nobody else", async () => {
    const stalled = await dial(client.address, FLOOD);
    stalled.socket.pause();
    stalled.send("all");
    const flows = await Promise.all(
      Array.from({ length: FLOWS }, async () => {
        const connection = await dial(client.address, FLOOD);
        connection.send("some");
        const ended = await connection.ended();
        const { length } = connection.received;
        connection.close();
        return `${ended} ${length}`;
      }),
    );
    assert.deepEqual(new Set(flows), new Set([`end ${FLOW_BYTES}`]));
    stalled.reset();
  });

  test("a connection that carries nothing is ended by a reset, and the log says why", async () => {
    const quiet = await dial(client.address, SILENT);
    quiet.send("x");
    assert.equal(await quiet.ended(), "ECONNRESET");
    // Whichever end looks first; the other one has its reset.
    await until("the line", () => [client, server].some(({ log }) => log.some(({ code }) => code === "IDLE_TIMEOUT")));
  });

  test("leaf and root change under load, and no connection notices", async () => {
    const next = await MeshAuthority.create();
    const accounts = ["app", "client"] as const;
    const identities = join(mesh.folder, "identities");
    const fresh = join(mesh.folder, "next");
    const wrong: string[] = [];
    const running = { stopped: false, done: 0 };
    const load = Array.from({ length: 4 }, async () => {
      while (!running.stopped) {
        const { ended, received } = await converse(client.address, COUNT, "four");
        running.done += 1;
        if (ended !== "end" || received.toString() !== "4 bytes") wrong.push(`${ended} ${received.toString()}`);
      }
    });
    /** Each step is in use at both ends, and connections have been made since, before the next one is taken. */
    const step = async (write: (account: string) => Promise<void>): Promise<void> => {
      const known = [changes(client), changes(server)];
      await Promise.all(accounts.map(write));
      await until("the change at both ends", () => {
        return changes(client) > (known[0] ?? 0) && changes(server) > (known[1] ?? 0);
      });
      const enough = running.done + 50;
      await until("connections since", () => running.done >= enough || wrong.length > 0);
    };
    await Promise.all(accounts.map((account) => next.issue(fresh, account)));
    await step(async (account) => {
      const { bundle } = filesOf(identities, account);
      await writeWhole(bundle, `${await read(bundle)}${await read(filesOf(fresh, account).bundle)}`, 0o644);
    });
    await step(async (account) => {
      const [to, from] = [filesOf(identities, account), filesOf(fresh, account)];
      await writeWhole(to.key, await read(from.key), 0o600);
      await writeWhole(to.certificate, await read(from.certificate), 0o644);
    });
    // The old root may go once no session stands on it: they are replaced within `rotationDrain`.
    const changed = client.log.findLastIndex(({ message }) => message === "identity changed");
    const count = (event: string, to?: number): number =>
      client.log.slice(0, to).filter(({ message }) => message === event).length;
    const ofOldLeaf = count("session-opened", changed);
    await until("the sessions of the old leaf to end", () => count("session-ended") >= ofOldLeaf || wrong.length > 0);
    await step(async (account) => {
      await writeWhole(filesOf(identities, account).bundle, await read(filesOf(fresh, account).bundle), 0o644);
    });
    running.stopped = true;
    await Promise.all(load);
    const failed = client.log.filter((line) => line["target"] === "access" && line["code"] !== undefined);
    assert.deepEqual(wrong, [], JSON.stringify(failed.slice(-3)));
  });
});
