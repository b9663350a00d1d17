// Trust that is taken back, at a waypoint: the tunnels of its callers and those to its endpoints end as soon as at a uproxy.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { mintSvid, svidName, testAuthority, type Minted, type TestAuthority } from "../support/ca.ts";
import { crlPem, mintCrl } from "../support/crl.ts";
import { writeIdentityFolder, writeWhole } from "../support/identity.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { virtualAddress } from "../support/loopback.ts";
import { service, waypoint, workloadEntry } from "../support/resources.ts";
import { attempt, converse, dial, type Connection } from "../support/tcp.ts";

const PORT = 7001;
/** What is promised is a second; a machine that is busy with other tests may take longer. */
const PROMPT_MS = 5_000;
const NAMES = ["client", "waypoint", "shop"] as const;

describe("trust that a waypoint loses", () => {
  let authority: TestAuthority;
  let mesh: Mesh;
  let client: Proxy;
  let gate: Proxy;
  const minted = new Map<string, Minted>();
  let lists = 0;

  const folderOf = (name: string): string => join(mesh.folder, `id-${name}`);
  const config = (name: string, more: object = {}): Readonly<Record<string, unknown>> => ({
    identity: { files: folderOf(name), ...more },
  });
  const listFile = (): string => join(mesh.folder, "lists.pem");

  /** Writes the waypoint's revocation list, newer than the one before. */
  const revoke = async (...names: readonly string[]): Promise<void> => {
    lists += 1;
    const revoked = names.map((name) => must(minted.get(name)));
    await writeWhole(listFile(), crlPem(await mintCrl(authority.intermediate, { revoked, number: lists })), 0o644);
  };

  before(async () => {
    authority = await testAuthority("ours.test");
    mesh = await startMesh();
    await revoke();
    const [clientAddress, gateAddress, shopAddress] = [mesh.address(), mesh.address(), mesh.address()];
    for (const name of NAMES) {
      minted.set(name, await mintSvid(authority, svidName(authority, "default", name)));
      await writeIdentityFolder(folderOf(name), must(minted.get(name)), authority);
    }
    mesh.write("mesh", [
      service("shop", [{ name: "tcp", port: PORT, appProtocol: "tcp" }], {
        labels: { "istio.io/use-waypoint": "waypoint" },
        clusterIP: virtualAddress(77),
      }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
      workloadEntry("shop", shopAddress, { serviceAccount: "shop" }),
      ...waypoint("waypoint", gateAddress, { serviceAccount: "waypoint" }),
    ]);
    await mesh.with(startTcpApp(shopAddress, PORT, echo));
    [client, gate] = await Promise.all([
      mesh.uproxy({
        name: "client",
        address: clientAddress,
        config: config("client"),
        listeners: [{ listen: hostPort(mesh.inside(clientAddress), PORT), to: `shop:${PORT}` }],
      }),
      mesh.waypoint({
        name: "waypoint",
        address: gateAddress,
        gateway: "waypoint",
        config: config("waypoint", { crl: listFile() }),
      }),
      mesh.uproxy({ name: "shop", address: shopAddress, config: config("shop") }),
    ]);
  });

  after(() => mesh.stop());

  const held = async (): Promise<Connection> => {
    const connection = await dial(client.inside, PORT);
    connection.send("hello");
    await connection.bytes(5);
    return connection;
  };
  const served = (): Promise<unknown> =>
    client.program.watch("service", async () => {
      const { received } = await converse(client.inside, PORT, "again");
      return received.toString() === "again";
    });

  test("a revoked caller is cut off, and refused from then on", async () => {
    const connection = await held();
    await revoke("client");
    assert.equal(await connection.ended(PROMPT_MS), "ECONNRESET");
    await gate.logged({ message: "session-ended", code: "IDENTITY_REVOKED" });
    assert.notEqual(await attempt(client.inside, PORT).ended(), "end");
    await gate.logged({ message: "session-refused", code: "IDENTITY_REVOKED" });
    await revoke();
    await served();
  });

  test("a revoked endpoint is left, and asked no more", async () => {
    const connection = await held();
    await revoke("shop");
    assert.notEqual(await connection.ended(PROMPT_MS), "end");
    assert.notEqual(await attempt(client.inside, PORT).ended(), "end");
    await gate.logged({ message: "session-failed", code: "IDENTITY_REVOKED" });
    await revoke();
    await served();
  });

  test("a root that is taken out of the bundle ends what stood on it", async () => {
    const connection = await held();
    const next = await testAuthority("ours.test");
    await writeWhole(join(folderOf("waypoint"), "bundle.pem"), next.bundlePem, 0o644);
    assert.equal(await connection.ended(PROMPT_MS), "ECONNRESET");
    await gate.logged({ message: "session-ended", code: "IDENTITY_UNTRUSTED" });
    await writeWhole(join(folderOf("waypoint"), "bundle.pem"), authority.bundlePem + next.bundlePem, 0o644);
    await served();
  });
});

function must<T>(value: T | undefined): T {
  assert.ok(value !== undefined);
  return value;
}
