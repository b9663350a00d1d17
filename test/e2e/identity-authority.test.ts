// uproxies and waypoints whose certificates come from the authority itself: a token leads to the first one, each leads to the next
// one, and neither a restart nor an authority that is away is noticed.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { echo, startHttpApp, startTcpApp } from "../support/apps.ts";
import { createToken, initAuthority, startAuthority, type RunningAuthority } from "../support/authority.ts";
import { ask } from "../support/http.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { runProgram, spawnWithConfig } from "../support/programs.ts";
import { service, waypoint, workloadEntry } from "../support/resources.ts";
import { converse } from "../support/tcp.ts";
import { until, within } from "../support/until.ts";

const ECHO = 7001;
const HTTP = 8080;

interface Certificates {
  readonly source: { readonly source: string; readonly state: string; readonly lastFailure?: string };
  readonly identity: string;
  readonly certChain: readonly { readonly serialNumber: string }[];
}

async function certificates(proxy: Proxy): Promise<Certificates> {
  return JSON.parse((await ask(`http://${proxy.admin}/certificates`)).body) as Certificates;
}

async function serial(proxy: Proxy): Promise<string> {
  return (await certificates(proxy)).certChain[0]?.serialNumber ?? "";
}

describe("a mesh on its authority", () => {
  let mesh: Mesh;
  let ca: string;
  let authority: RunningAuthority;
  let client: Proxy;
  let clientAddress: string;
  const file = (name: string): string => join(mesh.folder, name);

  const blockOf = (account: string): { readonly authority: Readonly<Record<string, string>> } => ({
    authority: {
      address: `127.0.0.1:${authority.port}`,
      serverName: "authority",
      bundle: join(ca, "root.pem"),
      token: file(`${account}.token`),
      store: join(file(`${account}-kept`), "identity.pem"),
      life: "1h",
    },
  });

  /** The identity block of an account, with a one-time token made for it. */
  const joining = async (account: string): Promise<ReturnType<typeof blockOf>> => {
    writeFileSync(file(`${account}.token`), await createToken(ca, account));
    return blockOf(account);
  };

  const startClient = (identity: unknown): Promise<Proxy> =>
    mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: [
        { listen: hostPort(mesh.inside(clientAddress), ECHO), to: `app:${ECHO}` },
        { listen: hostPort(mesh.inside(clientAddress), HTTP), to: `web:${HTTP}` },
      ],
      config: { identity },
    });

  const talks = async (): Promise<void> => {
    const { received } = await converse(mesh.inside(clientAddress), ECHO, "hello");
    assert.equal(received.toString(), "hello");
  };

  before(async () => {
    mesh = await startMesh();
    ca = await initAuthority(mesh.folder);
    authority = await startAuthority(mesh.folder, ca);
    mesh.atEnd(() => authority.program.stop());
    const [app, web, remote] = [mesh.address(), mesh.address(), mesh.address()];
    clientAddress = mesh.address();
    mesh.write("mesh", [
      ...waypoint("waypoint", remote, { serviceAccount: "waypoint" }),
      service("app", [{ name: "tcp", port: ECHO }]),
      service("web", [{ name: "http", port: HTTP, appProtocol: "http" }], {
        labels: { "istio.io/use-waypoint": "waypoint" },
      }),
      workloadEntry("app", app, { serviceAccount: "app" }),
      workloadEntry("web", web, { serviceAccount: "web" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startTcpApp(app, ECHO, echo));
    await mesh.with(startHttpApp(web, HTTP, "web"));
    await mesh.uproxy({ name: "app", address: app, config: { identity: await joining("app") } });
    await mesh.uproxy({ name: "web", address: web, config: { identity: await joining("web") } });
    await mesh.waypoint({
      name: "waypoint",
      address: remote,
      gateway: "waypoint",
      config: { identity: await joining("waypoint") },
    });
    client = await startClient(await joining("client"));
  });

  after(() => mesh.stop());

  test("tokens lead to certificates, with which uproxies and waypoint talk", async () => {
    await talks();
    const facts = {
      "src.identity": "spiffe://cluster.local/ns/default/sa/client",
      "dst.identity": "spiffe://cluster.local/ns/default/sa/app",
    };
    await client.access({ direction: "outbound", ...facts });
    const { status } = await ask(`http://${hostPort(client.inside, HTTP)}/`);
    assert.equal(status, 200, "by the waypoint");
    const { source, identity } = await certificates(client);
    assert.deepEqual([source.source, source.state], [`authority: 127.0.0.1:${authority.port}`, "waiting"]);
    assert.equal(identity, "spiffe://cluster.local/ns/default/sa/client");
    const kept = join(file("client-kept"), "identity.pem");
    assert.deepEqual([statSync(kept).mode & 0o777, statSync(file("client-kept")).mode & 0o777], [0o600, 0o700]);
    assert.match(readFileSync(kept, "utf8"), /^-----BEGIN PRIVATE KEY-----/);
  });

  test("a certificate leads to the next one while tunnels go on", async () => {
    const first = await serial(client);
    const long = converse(client.inside, ECHO, "x".repeat(1_000_000));
    client.program.signal("SIGHUP");
    await until("the renewal", async () => (await serial(client)) !== first);
    await client.logged({ message: "identity changed" });
    assert.equal((await long).received.length, 1_000_000);
    await talks();
  });

  test("a restart needs neither the spent token nor the authority, and explain asks nobody", async () => {
    const first = await serial(client);
    await authority.program.stop();
    await client.program.stop();
    client = await startClient(blockOf("client"));
    assert.equal(await serial(client), first);
    await talks();
    await client.logged({ message: "identity kept", code: "IDENTITY_NOT_GIVEN" });
    const explained = await runProgram("uproxy", [
      "explain",
      "--config",
      join(mesh.folder, "client.yaml"),
      "--to",
      `app:${ECHO}`,
    ]);
    assert.equal(explained.code, 0, explained.stderr);
    assert.match(explained.stdout, /spiffe:\/\/cluster\.local\/ns\/default\/sa\/app/);

    client.program.signal("SIGHUP");
    await until("a failure", async () => (await certificates(client)).source.state === "failing");
    assert.equal(await serial(client), first);
    await talks();
    authority = await startAuthority(mesh.folder, ca, { listen: `127.0.0.1:${authority.port}` });
    mesh.atEnd(() => authority.program.stop());
    await until("the renewal", async () => (await serial(client)) !== first);
    assert.equal((await certificates(client)).source.state, "waiting");
  });
});

describe("a start that cannot be", () => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-identity-start-"));
  after(() => rmSync(folder, { recursive: true }));
  const bundle = join(folder, "root.pem");
  const quiet = {
    resources: { files: folder },
    admin: "off",
    readiness: "off",
    metrics: "off",
    inbound: { hbone: "off" },
    outbound: { proxy: "off" },
  };
  const start = (name: string, authority: Readonly<Record<string, string>>): ReturnType<typeof spawnWithConfig> =>
    spawnWithConfig("uproxy", {
      name,
      folder,
      config: { ...quiet, identity: { authority: { address: "127.0.0.1:1", ...authority } } },
    });

  test("waits for an authority that is not there though nothing else holds it, and ends when it is told to", async () => {
    const own = await initAuthority(folder);
    writeFileSync(bundle, readFileSync(join(own, "root.pem")));
    writeFileSync(join(folder, "token"), "culvert-join.aaaa.bbbb\n");
    const program = start("waiting", { bundle, token: join(folder, "token") });
    await program.line(/"message":"identity awaited".*"code":"IDENTITY_NOT_GIVEN"/);
    program.signal("SIGTERM");
    assert.deepEqual(await within("the end", program.exited), { code: 0, signal: null });
    assert.deepEqual(program.errors, []);
  });

  test("ends at once with exit code 3 where a file is missing, and names it", async () => {
    writeFileSync(bundle, readFileSync(join(folder, "ca", "root.pem")));
    const cases: readonly [string, Readonly<Record<string, string>>, RegExp][] = [
      ["no-bundle", { bundle: join(folder, "none.pem"), token: join(folder, "token") }, /none\.pem: cannot be read/],
      ["no-root", { bundle: join(folder, "token"), token: join(folder, "token") }, /token: holds no certificate/],
      ["no-token", { bundle, token: join(folder, "none") }, /none: cannot be read \(ENOENT\)/],
      ["no-proof", { bundle }, /neither a token nor a certificate that is kept/],
    ];
    for (const [name, authority, says] of cases) {
      const program = start(name, authority);
      assert.deepEqual(await within("the end", program.exited), { code: 3, signal: null }, name);
      assert.match(program.errors.join("\n"), says);
    }
  });
});
