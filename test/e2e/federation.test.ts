// Two meshes of two trust domains that know each other's bundles: what passes, who is who, and how soon trust that is taken back
// has ended what stood on it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { connect } from "node:tls";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { bundleDocument, serveBundle, type TestEndpoint } from "../support/bundle-endpoint.ts";
import { mintSvid, svidName, testAuthority, type Minted, type TestAuthority } from "../support/ca.ts";
import { crlPem, mintCrl } from "../support/crl.ts";
import { writeIdentityFolder, writeWhole } from "../support/identity.ts";
import { ask } from "../support/http.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";
import { attempt, converse, dial } from "../support/tcp.ts";

const PORT = 7001;
/** What is promised is a second; a machine that is busy with other tests may take longer, and says so. */
const PROMPT_MS = 5_000;

describe("two meshes, federated", () => {
  let ours: TestAuthority;
  let theirs: TestAuthority;
  let mesh: Mesh;
  let foreign: Mesh;
  let client: Proxy;
  let migrated: Proxy;
  let denied: Proxy;
  let shop: Proxy;
  let endpoint: TestEndpoint;
  let shopIdentity: Minted;
  const identities = new Map<string, Minted>();

  /** A file of the mesh on our side. */
  const ourFile = (name: string): string => join(mesh.folder, name);
  const theirFile = (name: string): string => join(foreign.folder, name);

  before(async () => {
    [ours, theirs] = await Promise.all([testAuthority("ours.test"), testAuthority("theirs.test")]);
    [mesh, foreign] = await Promise.all([startMesh(), startMesh()]);
    const shopAddress = foreign.address();
    shopIdentity = await mintSvid(theirs, svidName(theirs, "default", "shop"));
    const server = await mintSvid(theirs, svidName(theirs, "default", "bundles"));
    endpoint = await serveBundle(server, bundleDocument([theirs]));
    foreign.atEnd(() => endpoint.close());
    await writeWhole(theirFile("ours.pem"), ours.bundlePem, 0o644);
    await writeWhole(theirFile("lists.pem"), crlPem(await mintCrl(ours.root)), 0o644);
    await writeWhole(ourFile("theirs.pem"), theirs.bundlePem, 0o644);
    await writeWhole(ourFile("lists.pem"), crlPem(await mintCrl(theirs.root)), 0o644);
    foreign.write("mesh", [
      workloadEntry("shop", shopAddress, { serviceAccount: "shop" }),
      authorizationPolicy("callers", "ALLOW", { app: "shop" }, [
        { from: [{ source: { principals: ["ours.test/ns/default/sa/client"] } }] },
        { from: [{ source: { principals: ["theirs.test/ns/default/sa/migrated"] } }] },
      ]),
    ]);
    const names = ["client", "migrated", "denied"] as const;
    const addresses = names.map((name) => ({ name, address: mesh.address() }));
    mesh.write("mesh", [
      ...addresses.map(({ name, address }) => workloadEntry(name, address, { serviceAccount: name })),
      service("shop", [{ name: "tcp", port: PORT }]),
      workloadEntry("shop", shopAddress, {
        serviceAccount: "shop",
        annotations: { "culvert.dev/trust-domain": "theirs.test" },
      }),
    ]);
    await foreign.with(startTcpApp(shopAddress, PORT, echo));
    await writeIdentityFolder(theirFile("shop"), shopIdentity, theirs);
    const shopConfig = {
      compliance: "pqc",
      identity: {
        files: theirFile("shop"),
        federation: { "ours.test": theirFile("ours.pem") },
        trustDomainAliases: ["ours.test"],
        crl: theirFile("lists.pem"),
      },
    };
    shop = await foreign.uproxy({ name: "shop", address: shopAddress, config: shopConfig });
    const start = async ({ name, address }: { readonly name: string; readonly address: string }): Promise<Proxy> => {
      const minted = await mintSvid(ours, svidName(ours, "default", name));
      identities.set(name, minted);
      await writeIdentityFolder(ourFile(`id-${name}`), minted, ours);
      const spiffe = {
        endpoint: `https://127.0.0.1:${endpoint.port}/`,
        profile: "https_spiffe",
        id: svidName(theirs, "default", "bundles"),
        bundle: ourFile("theirs.pem"),
      };
      const identity = {
        files: ourFile(`id-${name}`),
        federation: { "theirs.test": name === "client" ? spiffe : ourFile("theirs.pem") },
        crl: ourFile("lists.pem"),
      };
      const listeners = [{ listen: hostPort(mesh.inside(address), PORT), to: `shop:${PORT}` }];
      return mesh.uproxy({ name, address, listeners, config: { identity } });
    };
    [client, migrated, denied] = (await Promise.all(addresses.map(start))) as [Proxy, Proxy, Proxy];
  });

  after(async () => {
    await Promise.all([mesh.stop(), foreign.stop()]);
  });

  test("uproxies of two trust domains talk, and each knows who the other is", async () => {
    const { received, ended } = await converse(client.inside, PORT, "hello");
    assert.deepEqual([received.toString(), ended], ["hello", "end"]);
    const facts = {
      "src.identity": "spiffe://ours.test/ns/default/sa/client",
      "dst.identity": "spiffe://theirs.test/ns/default/sa/shop",
      "tls.group": "X25519MLKEM768",
    };
    await client.access({ direction: "outbound", ...facts });
    const line = await shop.access({ direction: "inbound", ...facts });
    assert.deepEqual([line["policy"], line["policy_rule"]], ["default/callers", "rules[0]"]);
    assert.ok(endpoint.asked > 0, "the client's bundle was asked for");
  });

  test("where post-quantum key exchange is asked for, it is counted, and a classical caller is refused", async () => {
    const { body } = await ask(`http://${hostPort(shop.address, PORTS.metrics)}/metrics`);
    assert.match(body, /^culvert_tunnel_handshakes_total\{direction="inbound",group="X25519MLKEM768"\} [1-9]/m);
    const { chainPem, keyPem } = must(identities.get("client"));
    const classical = connect({
      host: shop.address,
      port: PORTS.hbone,
      cert: chainPem,
      key: keyPem,
      ca: theirs.bundlePem,
      ecdhCurve: "X25519:P-256",
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    });
    classical.on("error", () => {});
    await shop.logged({ message: "session-refused", code: "KEY_EXCHANGE_REFUSED" });
    classical.destroy();
  });

  test("a caller of an alias is who it would be in the trust domain itself", async () => {
    const { received } = await converse(migrated.inside, PORT, "hello");
    assert.equal(received.toString(), "hello");
    const line = await shop.access({ "src.identity": "spiffe://ours.test/ns/default/sa/migrated" });
    assert.equal(line["policy_rule"], "rules[1]");
  });

  test("a policy by foreign principals refuses other foreign callers", async () => {
    const refused = attempt(denied.inside, PORT);
    assert.notEqual(await refused.ended(), "end");
    await shop.access({ code: "DENIED_BY_POLICY", "src.identity": "spiffe://ours.test/ns/default/sa/denied" });
    await denied.access({ code: "PEER_DENIED" });
  });

  test("a revoked caller is cut off by the callee, and comes back with a new certificate only", async () => {
    const held = await dial(migrated.inside, PORT);
    held.send("hello");
    await held.bytes(5);
    const since = systemClock.monotonic();
    const list = await mintCrl(ours.intermediate, { revoked: [must(identities.get("migrated"))] });
    await writeWhole(theirFile("lists.pem"), crlPem(list), 0o644);
    assert.equal(await held.ended(PROMPT_MS), "ECONNRESET");
    tell("a revoked caller was cut off", since);
    await shop.access({ code: "IDENTITY_REVOKED", "src.identity": "spiffe://ours.test/ns/default/sa/migrated" });
    assert.notEqual(await attempt(migrated.inside, PORT).ended(), "end");
    await shop.logged({ message: "session-refused", code: "IDENTITY_REVOKED" });
    const renewed = await mintSvid(ours, svidName(ours, "default", "migrated"));
    await writeIdentityFolder(ourFile("id-migrated"), renewed, ours);
    await migrated.program.watch("service under the new certificate", async () => {
      const { received } = await converse(migrated.inside, PORT, "back");
      return received.toString() === "back";
    });
  });

  test("a revoked callee is left by its callers", async () => {
    const held = await dial(client.inside, PORT);
    held.send("hello");
    await held.bytes(5);
    const since = systemClock.monotonic();
    await writeWhole(
      ourFile("lists.pem"),
      crlPem(await mintCrl(theirs.intermediate, { revoked: [shopIdentity] })),
      0o644,
    );
    assert.equal(await held.ended(PROMPT_MS), "ECONNRESET");
    tell("a revoked callee was left", since);
    await client.access({ code: "IDENTITY_REVOKED" });
    assert.notEqual(await attempt(client.inside, PORT).ended(), "end");
    await client.logged({ message: "session-failed", code: "IDENTITY_REVOKED" });
    await writeWhole(ourFile("lists.pem"), crlPem(await mintCrl(theirs.intermediate, { number: 2 })), 0o644);
    await client.program.watch("service again", async () => {
      const { received } = await converse(client.inside, PORT, "again");
      return received.toString() === "again";
    });
  });

  test("a foreign root that is taken out of its bundle takes its tunnels with it, and nobody else's", async () => {
    const held = await dial(client.inside, PORT);
    held.send("hello");
    await held.bytes(5);
    const next = await testAuthority("ours.test");
    const since = systemClock.monotonic();
    await writeWhole(theirFile("ours.pem"), next.bundlePem, 0o644);
    assert.equal(await held.ended(PROMPT_MS), "ECONNRESET");
    tell("a removed root ended its tunnels", since);
    await shop.access({ code: "IDENTITY_UNTRUSTED", "src.identity": "spiffe://ours.test/ns/default/sa/client" });
    await writeWhole(theirFile("ours.pem"), next.bundlePem + ours.bundlePem, 0o644);
    await client.program.watch("service again", async () => {
      const { received } = await converse(client.inside, PORT, "again");
      return received.toString() === "again";
    });
  });
});

function must<T>(value: T | undefined): T {
  assert.ok(value !== undefined);
  return value;
}

function tell(what: string, sinceMs: number): void {
  process.stdout.write(`# ${what} after ${Math.round(systemClock.monotonic() - sinceMs)} ms\n`);
}
