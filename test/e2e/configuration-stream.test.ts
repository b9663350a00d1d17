// Two uproxies and a waypoint that take their resources from the authority: what they are given, when it is away, when it is wrong.
import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { parse } from "yaml";
import { echo, startTcpApp } from "../support/apps.ts";
import { ConfigAuthority, sourceOf } from "../support/config-authority.ts";
import { ask } from "../support/http.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { spawnWithConfig, runProgram } from "../support/programs.ts";
import { authorizationPolicy, service, waypoint, workloadEntry, type Resource } from "../support/resources.ts";
import { dial, type Connection } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const ECHO = 7001;
/** What is refused is refused soon. */
const SOON = { limits: { configurationWait: "300ms" } };
/** Workloads and services that nobody here talks to. */
const STRANGERS = 200;

interface Place {
  readonly mesh: Mesh;
  readonly authority: ConfigAuthority;
  readonly client: Proxy;
  readonly app: Proxy;
  /** Writes the resources, and others beside them. */
  readonly write: (more?: readonly Resource[]) => void;
}

/** `more` are keys of the client's configuration. */
async function place(context: TestContext, more: object = {}): Promise<Place> {
  const mesh = await startMesh();
  context.after(() => mesh.stop());
  const [client, app, through] = [mesh.address(), mesh.address(), mesh.address()];
  const strangers = Array.from({ length: STRANGERS }, (_, index) => [
    service(`stranger-${index}`, [{ name: "tcp", port: ECHO }]),
    workloadEntry(`stranger-${index}`, `10.99.${index >> 8}.${index & 255}`, { serviceAccount: "stranger" }),
  ]).flat();
  const write = (others: readonly Resource[] = []): void =>
    mesh.write("mesh", [
      service("app", [{ name: "tcp", port: ECHO }]),
      service("behind", [{ name: "tcp", port: ECHO, appProtocol: "tcp" }], {
        app: "app",
        labels: { "istio.io/use-waypoint": "waypoint" },
      }),
      workloadEntry("app", app, { serviceAccount: "app" }),
      workloadEntry("client", client, { serviceAccount: "client" }),
      ...waypoint("waypoint", through, { serviceAccount: "waypoint" }),
      ...strangers,
      ...others,
    ]);
  write();
  const authority = await ConfigAuthority.start(mesh);
  await mesh.with(startTcpApp(app, ECHO, echo));
  const appProxy = await mesh.uproxy({ name: "app", address: app, config: await authority.proxyConfig("app") });
  await mesh.waypoint({
    name: "waypoint-1",
    address: through,
    account: "waypoint",
    gateway: "waypoint",
    config: await authority.proxyConfig("waypoint"),
  });
  const config = await authority.proxyConfig("client", { lastGood: join(mesh.folder, "client.last") });
  const clientProxy = await mesh.uproxy({ name: "client", address: client, config: { ...config, ...more } });
  return { mesh, authority, client: clientProxy, app: appProxy, write };
}

/** A connection by the proxy port, and the head of the answer. */
async function connect(proxy: Proxy, to: string): Promise<{ readonly connection: Connection; readonly head: string }> {
  const connection = await dial(proxy.inside, proxy.ports.proxy);
  connection.send(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`);
  await Promise.race([until("an answer", () => connection.received.includes("\r\n\r\n")), connection.ended()]);
  return { connection, head: String(connection.received) };
}

async function echoes(proxy: Proxy, to: string): Promise<Connection> {
  const { connection, head } = await connect(proxy, to);
  assert.match(head, /^HTTP\/1\.1 200 /, to);
  connection.send("hello");
  await connection.bytes(head.length + 5);
  return connection;
}

async function refused(proxy: Proxy, to: string, code: string): Promise<void> {
  const { connection, head } = await connect(proxy, to);
  assert.match(head, new RegExp(`^HTTP/1\\.1 503 [\\s\\S]*${code}`), to);
  connection.close();
}

describe("resources by the authority's stream", () => {
  test("each proxy holds what it needs; destinations come when the app goes there, by name, address and waypoint", async (context) => {
    const { mesh, client, app } = await place(context);
    const first = await sourceOf(client);
    assert.equal(first.stream.connected, true);
    assert.ok(first.stream.documents < 10, `${first.stream.documents} documents`);
    assert.equal(first.stream.subscriptions, 0);

    (await echoes(client, `app:${ECHO}`)).close();
    (await echoes(client, `app.default.svc.cluster.local:${ECHO}`)).close();
    (await echoes(client, `${app.address}:${ECHO}`)).close();
    (await echoes(client, `behind:${ECHO}`)).close();
    const asked = await sourceOf(client);
    assert.equal(asked.stream.subscriptions, 4);
    assert.ok(asked.stream.documents < 15, `${asked.stream.documents} documents`);
    await app.access({ direction: "inbound", "src.identity": "spiffe://cluster.local/ns/default/sa/waypoint" });

    // What is in no resource is known to be in none.
    const outside = await mesh.with(startTcpApp(mesh.address(), 7_002, echo));
    (await echoes(client, `${outside.host}:7002`)).close();
    const explained = await runProgram("uproxy", ["explain", "--to", `stranger-7:${ECHO}`, "--admin", client.admin]);
    assert.equal(explained.code, 0, explained.stderr);
    assert.match(explained.stdout, /endpoint default\/stranger-7 at 10\.99\.0\.7:15008/);

    const file = join(mesh.folder, "client.yaml");
    const offline = await runProgram("uproxy", ["explain", "--to", `app:${ECHO}`, "--config", file]);
    assert.equal(offline.code, 2);
    assert.match(offline.stderr, /come from the authority at .*only a running process knows them: use --admin/);
    const checked = await runProgram("uproxy", ["check", "--config", file]);
    assert.equal(checked.code, 0);
    assert.match(checked.stdout, /^ok: the configuration; the resources come from the authority/);
  });

  test("DNS asks for names, and the address that it gives needs no question of its own", async (context) => {
    const mesh = await startMesh();
    context.after(() => mesh.stop());
    const [client, app] = [mesh.address(), mesh.address()];
    mesh.write("mesh", [
      service("app", [{ name: "tcp", port: ECHO }]),
      workloadEntry("app", app, { serviceAccount: "app" }),
      workloadEntry("client", client, { serviceAccount: "client" }),
    ]);
    const authority = await ConfigAuthority.start(mesh);
    await mesh.with(startTcpApp(app, ECHO, echo));
    await mesh.uproxy({ name: "app", address: app, config: await authority.proxyConfig("app") });
    const config = { ...(await authority.proxyConfig("client")), dns: `${client}:15053` };
    const proxy = await mesh.uproxy({ name: "client", address: client, config });
    const resolver = new Resolver();
    resolver.setServers([`${client}:15053`]);
    const [address] = await resolver.resolve4("app.default.svc.cluster.local");
    assert.match(String(address), /^241\./);
    const { subscriptions } = (await sourceOf(proxy)).stream;
    (await echoes(proxy, `${address}:${ECHO}`)).close();
    assert.equal((await sourceOf(proxy)).stream.subscriptions, subscriptions);
  });

  test("an authority of another name, or of other roots, is asked for nothing", async (context) => {
    const { mesh, authority, client } = await place(context);
    const other = await mesh.issue("other");
    const config = parse(readFileSync(join(mesh.folder, "client.yaml"), "utf8")) as object;
    const cases = [
      [
        { resources: { authority: { address: authority.address, serverName: "elsewhere.mesh" } } },
        /does not match|altnames/i,
      ],
      [{ identity: { files: other.folder } }, /resources: .*(?:self-signed|unable to|certificate)/],
    ] as const;
    await client.program.stop();
    for (const [wrong, why] of cases) {
      const impostor = spawnWithConfig("uproxy", {
        name: "doubtful",
        folder: mesh.folder,
        config: { ...config, ...wrong },
      });
      context.after(() => impostor.stop());
      await until("it says why", async () => {
        const asked = await ask(`http://${client.address}:${client.ports.readiness}/healthz/ready`).catch(
          () => undefined,
        );
        return asked?.status === 503 && why.test(asked.body);
      });
      await impostor.stop();
    }
  });

  test("a change arrives, and a policy that forbids a connection ends it", async (context) => {
    const { client, app, write } = await place(context);
    const connection = await echoes(client, `app:${ECHO}`);
    const from = [{ source: { principals: ["cluster.local/ns/default/sa/client"] } }];
    write([authorizationPolicy("no-client", "DENY", { app: "app" }, [{ from }])]);
    assert.notEqual(await connection.ended(), "end");
    await app.access({ direction: "inbound", code: "POLICY_CHANGED" });
    write();
    await until("it is let in again", async () => {
      const { connection: again, head } = await connect(client, `app:${ECHO}`);
      again.close();
      return head.startsWith("HTTP/1.1 200");
    });
  });

  test("an authority that is away changes nothing but what is new; the way back is a difference", async (context) => {
    const { authority, client, app, write } = await place(context, SOON);
    const held = await echoes(client, `app:${ECHO}`);
    const before = await sourceOf(client);
    await authority.stop();
    await client.logged({ message: "no configuration stream", code: "CONFIGURATION_UNAVAILABLE" });
    held.send("again");
    (await echoes(client, `app:${ECHO}`)).close();
    await refused(client, `stranger-1:${ECHO}`, "CONFIGURATION_UNAVAILABLE");
    await refused(client, `${app.address}:${ECHO}`, "CONFIGURATION_UNAVAILABLE");
    await client.access({ code: "CONFIGURATION_UNAVAILABLE", "dst.addr": `stranger-1:${ECHO}` });
    const { body } = await ask(`http://${client.address}:${client.ports.metrics}/metrics`);
    assert.match(body, /^culvert_configuration_connected 0$/m);
    assert.match(body, /^culvert_config_age_seconds [\d.]+$/m);

    write([workloadEntry("app-2", "10.99.9.9", { serviceAccount: "app", app: "app" })]);
    await authority.start();
    // After a while without it, tries come every 15 to 30 s.
    await until("the stream again", async () => (await sourceOf(client)).stream.connected, 60_000);
    await until("the news", async () => {
      const { body: explained } = await ask(`http://${client.admin}/explain?to=app:${ECHO}`);
      return explained.includes("10.99.9.9");
    });
    const after = await sourceOf(client);
    assert.equal(after.stream.connects > before.stream.connects, true);
    assert.equal(after.stream.refused, 0);
    // Those that were refused are asked for still, and have been answered.
    (await echoes(client, `${app.address}:${ECHO}`)).close();
    held.close();
  });

  test("a start without an authority serves what was kept; one that has kept nothing waits and says for whom", async (context) => {
    const { mesh, authority, client, app } = await place(context, SOON);
    (await echoes(client, `app:${ECHO}`)).close();
    const lastGood = join(mesh.folder, "client.last");
    await until("it is kept", async () => {
      const { stream } = await sourceOf(client);
      return existsSync(lastGood) && stream.subscriptions === 1;
    });
    // What is kept a second after a change holds the answer too.
    await client.program.stop();
    await authority.stop();

    const config = parse(readFileSync(join(mesh.folder, "client.yaml"), "utf8")) as object;
    const again = spawnWithConfig("uproxy", { name: "again", folder: mesh.folder, config: { ...config } });
    context.after(() => again.stop());
    await again.line(/"message":"ready"/);
    (await echoes(client, `app:${ECHO}`)).close();
    await refused(client, `stranger-2:${ECHO}`, "CONFIGURATION_UNAVAILABLE");
    const { body } = await ask(`http://${client.address}:${client.ports.readiness}/healthz/ready`);
    assert.match(body, /^ready; resources: the last good ones, saved \d+\w+ ago/);
    await again.stop();

    writeFileSync(lastGood, "nonsense", { mode: 0o600 });
    const fresh = spawnWithConfig("uproxy", { name: "fresh", folder: mesh.folder, config: { ...config } });
    context.after(() => fresh.stop());
    await until("it says what is missing", async () => {
      const asked = await ask(`http://${client.address}:${client.ports.readiness}/healthz/ready`).catch(
        () => undefined,
      );
      return asked?.status === 503 && /resources: .*ECONNREFUSED/.test(asked.body);
    });
    await fresh.line(/resources that were saved last cannot be used/);
    await authority.start();
    await fresh.line(/"message":"ready"/);
    assert.ok(app.program.exit === undefined);
  });

  test("resources with an error change nothing, and the authority says so", async (context) => {
    const { mesh, authority, client } = await place(context);
    const connection = await echoes(client, `app:${ECHO}`);
    mesh.write("bad", [
      { apiVersion: "v1", kind: "Service", metadata: { name: "bad" }, spec: { ports: [{ port: "many" }] } },
    ]);
    await until("the authority to say it", () => authority.log.some((line) => line.includes("spec.ports[0].port")));
    connection.send("again");
    (await echoes(client, `app:${ECHO}`)).close();
    (await echoes(client, `behind:${ECHO}`)).close();
    connection.close();
  });
});
