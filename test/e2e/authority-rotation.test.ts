// A new root under load: it is added, it signs, the old one goes, and no connection fails.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { createToken, initAuthority, startAuthority, type RunningAuthority } from "../support/authority.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { runProgram } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { converse, dial } from "../support/tcp.ts";
import { observe, until } from "../support/until.ts";

const PORT = 7001;
const NAMES = ["client", "shop"] as const;
/** What is promised is a second; a machine that is busy with other tests may take longer. */
const PROMPT_MS = 5_000;
/** How long sessions by an old certificate may last; as long, and a few seconds for a busy machine, is waited before their root goes. */
const ROTATION_DRAIN = "1s";
const DRAINED_MS = 5_000;

/** How often a proxy has said that its identity, or its trust alone, has changed. */
function changes({ log }: Proxy, what: "identity" | "trust"): number | undefined {
  return log.filter(({ message }) => message === `${what} changed`).length || undefined;
}

describe("a rotation of the root", () => {
  let mesh: Mesh;
  let authority: RunningAuthority;
  const proxies: Proxy[] = [];
  let host: string;
  const port = 9000;

  before(async () => {
    mesh = await startMesh();
    authority = await startAuthority(mesh.folder, await initAuthority(mesh.folder));
    mesh.atEnd(() => authority.program.stop());
    const [clientAddress, shopAddress] = [mesh.address(), mesh.address()];
    host = mesh.inside(clientAddress);
    mesh.write("mesh", [
      service("shop", [{ name: "tcp", port: PORT, appProtocol: "tcp" }]),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
      workloadEntry("shop", shopAddress, { serviceAccount: "shop" }),
    ]);
    await mesh.with(startTcpApp(shopAddress, PORT, echo));
    for (const [name, address] of [
      ["shop", shopAddress],
      ["client", clientAddress],
    ] as const) {
      const token = join(mesh.folder, `${name}.token`);
      writeFileSync(token, await createToken(authority.folder, name), { mode: 0o600 });
      const source = {
        address: `127.0.0.1:${authority.port}`,
        serverName: "authority",
        bundle: join(authority.folder, "root.pem"),
        token,
        store: join(mesh.folder, `${name}.store`),
      };
      const listeners = name === "client" ? [{ listen: hostPort(host, port), to: `shop:${PORT}` }] : [];
      proxies.push(
        await mesh.uproxy({
          name,
          address,
          listeners,
          config: { identity: { authority: source }, limits: { rotationDrain: ROTATION_DRAIN } },
        }),
      );
    }
  });

  after(() => mesh.stop());

  async function root(...args: readonly string[]): Promise<string> {
    const [action = "", ...rest] = args;
    const { code, stdout, stderr } = await runProgram("authority", ["root", action, authority.folder, ...rest]);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** The identities that hold a living certificate by a root. */
  function holdersOf(id: string): ReadonlySet<string> {
    const lines = readFileSync(join(authority.folder, "issued.log"), "utf8").split("\n");
    return new Set(lines.filter((line) => line.split(" ")[1] === id).map((line) => line.split("/").at(-1) ?? ""));
  }

  async function trusted(version: number): Promise<void> {
    for (const proxy of proxies) {
      await until(`${proxy.name} to know ${version} changes of trust`, () => (changes(proxy, "trust") ?? 0) >= version);
    }
  }

  /** What the app says to "hello", or what becomes of the connection. */
  async function talk(): Promise<string> {
    const { received } = await converse(host, port, "hello");
    return received.toString();
  }

  test("with the authority as source no connection fails", async (t) => {
    const state = { stop: false, done: 0 };
    const failures: string[] = [];
    const load = Array.from({ length: 4 }, async () => {
      while (!state.stop) {
        const text = await talk();
        if (text === "hello") state.done += 1;
        else failures.push(text);
      }
    });
    try {
      await until("load", () => state.done > 20);
      const old = /^([0-9a-f]{16})/.exec(await root("list"))?.[1] ?? "";
      const fresh = /^root ([0-9a-f]{16})/.exec(await root("add"))?.[1] ?? "";
      await trusted(1);
      await root("activate", "--id", fresh, "--force");
      assert((await root("list")).includes(`${fresh}  signs`));
      const told = (): number => authority.program.output.filter((line) => line.includes('"authority changed"')).length;
      await until("the server to sign by the new root", () => told() >= 2);
      for (const { program } of proxies) process.kill(program.pid, "SIGHUP");
      for (const proxy of proxies) await until(`${proxy.name} to be of the new root`, () => changes(proxy, "identity"));
      assert.deepEqual([...holdersOf(fresh)].toSorted(), [...NAMES]);
      // Sessions by the old certificates are replaced and drained under load before the root goes that they rest on.
      const byOld = state.done;
      await until("load by the new certificates", () => state.done > byOld + 50);
      await observe(DRAINED_MS);
      await root("remove", "--id", old, "--force");
      await trusted(2);
      const without = state.done;
      await until("load without the old root", () => state.done > without + 50);
      assert.equal(existsSync(join(authority.folder, "roots", old)), false);
    } finally {
      state.stop = true;
      await Promise.all(load);
    }
    t.diagnostic(`${state.done} connections, ${failures.length} failed`);
    assert.deepEqual(failures, []);
  });

  test("who is revoked is cut off, and gets no further certificate", async () => {
    const held = await dial(host, port);
    held.send("hello");
    await held.bytes(5);
    const id = "spiffe://cluster.local/ns/default/sa/client";
    const { code, stdout, stderr } = await runProgram("authority", ["revoke", authority.folder, "--id", id]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^[0-9A-F]+\n/);
    await held.ended(PROMPT_MS);
    const issued = readFileSync(join(authority.folder, "issued.log"), "utf8");
    const [, client] = proxies;
    process.kill(client?.program.pid ?? 0, "SIGHUP");
    await authority.program.line(/"outcome":"refused".*"code":"(IDENTITY_REVOKED|TOKEN_REFUSED)"/);
    assert.equal(readFileSync(join(authority.folder, "issued.log"), "utf8"), issued);
    assert.equal(await talk(), "");
  });
});
