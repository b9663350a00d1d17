// A uproxy whose certificates come from Istio's certificate service: the service here behaves as istiod does, and then lies, is slow
// and is away (istiod itself needs a cluster).
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { mintSvid, svidName, testAuthority } from "../support/ca.ts";
import { ask } from "../support/http.ts";
import { writeIdentityFolder } from "../support/identity.ts";
import { accountToken, ISTIOD_NAME, TestIstioCa } from "../support/istio-ca.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { attempt, converse } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const PORT = 7001;
const CLIENT = "spiffe://cluster.local/ns/default/sa/client";

interface Place {
  readonly mesh: Mesh;
  readonly istiod: TestIstioCa;
  readonly client: string;
  readonly token: string;
  /** Starts the client's uproxy. */
  readonly start: (identity?: Readonly<Record<string, unknown>>) => Promise<Proxy>;
}

async function place(context: TestContext): Promise<Place> {
  const authority = await testAuthority("cluster.local");
  const [mesh, istiod] = [await startMesh(), new TestIstioCa(authority)];
  context.after(() => mesh.stop());
  mesh.atEnd(() => istiod.stop());
  await istiod.start();
  const [client, app] = [mesh.address(), mesh.address()];
  const [token, bundle] = [join(mesh.folder, "token"), join(mesh.folder, "root-cert.pem")];
  writeFileSync(token, accountToken("client"));
  writeFileSync(bundle, authority.bundlePem);
  mesh.write("mesh", [
    service("app", [{ name: "tcp", port: PORT }]),
    workloadEntry("app", app, { serviceAccount: "app" }),
    workloadEntry("client", client, { serviceAccount: "client" }),
  ]);
  await mesh.with(startTcpApp(app, PORT, echo));
  const identity = join(mesh.folder, "id-app");
  await writeIdentityFolder(identity, await mintSvid(authority, svidName(authority, "default", "app")), authority);
  await mesh.uproxy({ name: "app", address: app, config: { identity: { files: identity } } });
  return {
    mesh,
    istiod,
    client,
    token,
    start: (more = {}) =>
      mesh.uproxy({
        name: "client",
        address: client,
        listeners: [{ listen: hostPort(mesh.inside(client), PORT), to: `app:${PORT}` }],
        config: {
          identity: { istiod: { address: istiod.address, bundle, token, serverName: ISTIOD_NAME, ...more } },
        },
      }),
  };
}

async function certificates(
  proxy: Proxy,
): Promise<{ source: Record<string, unknown>; certChain: { serialNumber: string }[] }> {
  return JSON.parse((await ask(`http://${proxy.admin}/certificates`)).body) as never;
}

async function serial(proxy: Proxy): Promise<string> {
  return (await certificates(proxy)).certChain[0]?.serialNumber ?? "";
}

async function failures(proxy: Proxy, code: string): Promise<number> {
  const { body } = await ask(`http://${hostPort(proxy.address, PORTS.metrics)}/metrics`);
  return Number(new RegExp(`^culvert_identity_failures_total\\{code="${code}"\\} (\\d+)$`, "m").exec(body)?.[1] ?? 0);
}

async function talks(proxy: Proxy): Promise<void> {
  const { received, ended } = await converse(proxy.inside, PORT, "hello");
  assert.deepEqual([received.toString(), ended], ["hello", "end"]);
}

test("the token of the pod leads to certificates, read anew for each, and lies are never used", async (context) => {
  const { istiod, start, token } = await place(context);
  const proxy = await start();
  await talks(proxy);
  await proxy.access({ direction: "outbound", "src.identity": CLIENT });
  assert.deepEqual(istiod.requests, [{ token: accountToken("client"), uris: [CLIENT], seconds: 86_400 }]);
  const { source } = await certificates(proxy);
  assert.deepEqual(
    [source["source"], source["state"], source["failures"]],
    [`istiod: ${istiod.address}`, "waiting", 0],
  );
  const next = Number(source["nextTrySeconds"]);
  assert(next > 38_000 && next < 48_000, "half of a day, a tenth more or less");

  const first = await serial(proxy);
  const lies = [
    ["IDENTITY_MISMATCH", { id: "spiffe://cluster.local/ns/default/sa/admin" }],
    ["IDENTITY_EXPIRED", { lifeMs: -1_000 }],
    ["IDENTITY_EXPIRED", { spec: { notBefore: new Date(Date.now() + 3_600_000) } }],
    ["IDENTITY_MALFORMED", { chain: (): readonly string[] => [] }],
    ["IDENTITY_NOT_GIVEN", { status: 14 }],
  ] as const;
  for (const [code, part] of lies) {
    istiod.part = part;
    const before = await failures(proxy, code);
    proxy.program.signal("SIGHUP");
    await until(code, async () => (await failures(proxy, code)) > before);
    assert.equal(await serial(proxy), first);
  }
  await talks(proxy);
  const failing = (await certificates(proxy)).source;
  assert.equal(failing["state"], "failing");
  assert.match(String(failing["lastFailure"]), /^IDENTITY_/);

  writeFileSync(token, accountToken("client", "default", 2));
  istiod.part = {};
  proxy.program.signal("SIGHUP");
  await until("the renewal", async () => (await serial(proxy)) !== first);
  assert.equal(istiod.requests.at(-1)?.token, accountToken("client", "default", 2));
  await talks(proxy);
});

test("with its authority away it serves until the last second, then refuses, and comes back by itself", async (context) => {
  const { istiod, start } = await place(context);
  istiod.part = { lifeMs: 12_000 };
  const proxy = await start();
  const certificate = await certificates(proxy);
  await istiod.stop();
  const ends = Date.parse((certificate as unknown as { expirationTime: string }).expirationTime);
  while (Date.now() < ends - 3_000) {
    await talks(proxy);
  }
  await proxy.logged({ message: "identity expired", code: "IDENTITY_EXPIRED" });
  const refused = attempt(proxy.inside, PORT);
  assert.notEqual(await refused.ended(), "end");
  await proxy.access({ direction: "outbound", code: "IDENTITY_EXPIRED" });
  const told = proxy.log.filter(({ message }) => /^identity (at half|near its end)/.test(String(message)));
  assert.deepEqual(
    told.map((line) => line["left_percent"]).toSorted((a, b) => Number(b) - Number(a)),
    told.map((line) => line["left_percent"]),
    "each share once, as life goes",
  );
  assert(told.length > 0 && told.length <= 3);
  istiod.part = {};
  await istiod.start();
  await until("the next certificate", async () => (await certificates(proxy)).source["state"] === "waiting", 60_000);
  await talks(proxy);
});

test("a start without its authority waits, says for what, and goes on when the authority comes", async (context) => {
  const { istiod, client, start } = await place(context);
  await istiod.stop();
  let isReady = false;
  const starting = start().then((proxy) => {
    isReady = true;
    return proxy;
  });
  const probe = `http://${hostPort(client, PORTS.readiness)}/healthz/ready`;
  await until("the reason", async () => {
    const { status, body } = await ask(probe);
    return status === 503 && /identity: IDENTITY_NOT_GIVEN .*127\.0\.0\.1:\d+: UNAVAILABLE/.test(body);
  });
  assert.equal(isReady, false);
  await istiod.start();
  const proxy = await starting;
  await talks(proxy);
  assert.equal((await ask(probe)).body.trim(), "ready");
});
