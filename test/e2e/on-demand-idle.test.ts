// What a uproxy no longer asks of the authority: destinations that nobody uses, and the least used one where there are too many. What a
// connection lives on stays, and so does everything while the authority is away.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { ConfigAuthority, sourceOf } from "../support/config-authority.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { configDump } from "../support/shop.ts";
import { dial, type Connection } from "../support/tcp.ts";
import { observe, until } from "../support/until.ts";

const ECHO = 7001;
/** The least that may be configured; what is idle is given up within a quarter more. */
const IDLE_MS = 1_000;
const NAMES = ["a", "b", "c", "d", "e"] as const;

async function connected(proxy: Proxy, to: string): Promise<Connection> {
  const connection = await dial(proxy.inside, proxy.ports.proxy);
  connection.send(`CONNECT ${to}:${ECHO} HTTP/1.1\r\nHost: ${to}\r\n\r\n`);
  await Promise.race([until("an answer", () => connection.received.includes("\r\n\r\n")), connection.ended()]);
  return connection;
}

/** A connection that lives. */
async function held(proxy: Proxy, to: string): Promise<Connection> {
  const connection = await connected(proxy, to);
  assert.match(String(connection.received), /^HTTP\/1\.1 200 /, to);
  await echoes(connection);
  return connection;
}

async function echoes(connection: Connection): Promise<void> {
  const { length } = connection.received;
  connection.send("hello");
  assert.match(String(await connection.bytes(length + 5)), /hello$/);
}

async function used(proxy: Proxy, to: string): Promise<void> {
  (await held(proxy, to)).close();
}

/** The services that the proxy holds. */
async function services(proxy: Proxy): Promise<string[]> {
  const { services: all } = await configDump(proxy);
  return NAMES.filter((name) => all[`default/${name}`] !== undefined);
}

describe("a destination that was asked for", () => {
  let mesh: Mesh;
  let authority: ConfigAuthority;

  before(async () => {
    mesh = await startMesh();
    const app = mesh.address();
    mesh.write("mesh", [
      ...NAMES.map((name, index) =>
        service(name, [{ name: "tcp", port: ECHO }], { app: "app", clusterIP: `10.96.1.${index + 1}` }),
      ),
      workloadEntry("app", app, { serviceAccount: "app" }),
    ]);
    authority = await ConfigAuthority.start(mesh, { ca: await mesh.writeAuthority() });
    await mesh.with(startTcpApp(app, ECHO, echo));
    await mesh.uproxy({ name: "app", address: app });
  });

  after(() => mesh.stop());

  /** A uproxy of its own for each test. */
  async function client(name: string, limits: Readonly<Record<string, string | number>>): Promise<Proxy> {
    const address = mesh.address();
    mesh.write(name, [workloadEntry(name, address, { serviceAccount: name })]);
    return mesh.uproxy({ name, address, config: { resources: authority.resources, limits } });
  }

  /** Waits until proxy and authority agree on what is asked for. */
  async function holds(proxy: Proxy, names: readonly string[], subscriptions = names.length): Promise<void> {
    await until(`${names.join(", ")} and no others`, async () => {
      const facts = await authority.client(`default/${proxy.name}`);
      const found = await services(proxy);
      const { stream } = await sourceOf(proxy);
      return (
        found.join() === names.join() &&
        stream.subscriptions === subscriptions &&
        facts?.subscriptions === subscriptions
      );
    });
  }

  test("is given up when nobody uses it, kept as long as a connection lives, and asked for again", async () => {
    const proxy = await client("idle", { subscriptionIdle: `${IDLE_MS}ms` });
    const byName = await held(proxy, "a");
    // What keeps `b` is a connection to the address of a name that was asked for.
    await used(proxy, "b");
    const byAddress = await held(proxy, "10.96.1.2");
    for (let round = 0; round < 2; round += 1) {
      await used(proxy, "c");
      await holds(proxy, ["a", "b"]);
    }
    await echoes(byName);
    await echoes(byAddress);
    byName.close();
    await holds(proxy, ["b"]);
    byAddress.close();
    await holds(proxy, []);
    assert.equal((await sourceOf(proxy)).stream.connects, 1);
  });

  test("is not given up while the authority is away, however long nobody uses it", async () => {
    const proxy = await client("alone", { subscriptionIdle: `${IDLE_MS}ms` });
    const connection = await held(proxy, "a");
    await authority.stop();
    try {
      await until("the loss", async () => !(await sourceOf(proxy)).stream.connected);
      connection.close();
      await observe(2 * IDLE_MS);
      assert.deepEqual([await services(proxy), (await sourceOf(proxy)).stream.subscriptions], [["a"], 1]);
      await used(proxy, "a");
    } finally {
      await authority.start();
      proxy.program.signal("SIGHUP");
    }
    await holds(proxy, []);
    await used(proxy, "a");
  });

  test("makes room for another when it was used longest ago; none that is in use does", async () => {
    const proxy = await client("bounded", { maxSubscriptions: 3 });
    for (const name of ["a", "b", "c", "a"]) await used(proxy, name);
    await used(proxy, "d");
    await holds(proxy, ["a", "c", "d"]);
    const first = await held(proxy, "c");
    await used(proxy, "e");
    await holds(proxy, ["c", "d", "e"]);
    const others = [await held(proxy, "d"), await held(proxy, "e")];
    const refused = await connected(proxy, "a");
    assert.match(String(refused.received), /^HTTP\/1\.1 503 [\s\S]*CONFIGURATION_UNAVAILABLE/);
    const line = await proxy.access({ code: "CONFIGURATION_UNAVAILABLE" });
    assert.match(
      String(line["error"]),
      /3 destinations are asked for, and all are in use \(limits\.maxSubscriptions\)/,
    );
    for (const each of [refused, first, ...others]) each.close();
    await until("room", async () => {
      const again = await connected(proxy, "a");
      again.close();
      return String(again.received).startsWith("HTTP/1.1 200 ");
    });
  });
});
