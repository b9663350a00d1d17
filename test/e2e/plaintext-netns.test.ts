// Captured plaintext and kept source addresses on separate hosts, with the rules that `uproxy capture` makes by either backend.
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import type { Echoed } from "../support/apps.ts";
import { command } from "../support/env.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { createNetwork, type Host, type Network } from "../support/netns.ts";
import { run, startProgram, succeed, type Result } from "../support/process.ts";
import { commandLine, spawnWithConfig } from "../support/programs.ts";
import { peerAuthentication, service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const APP = 8080;
const LISTENER = "127.0.0.1:9080";

function curl(host: Host, url: string): Promise<Result> {
  const [first = "", ...rest] = host.prefix;
  return run(first, [...rest, command("curl"), "--silent", "--show-error", "--globoff", "--max-time", "10", url]);
}

/** The address from which the app was called. */
function callerOf({ stdout, stderr }: Result): string {
  assert.notEqual(stdout, "", stderr);
  return (JSON.parse(stdout) as Echoed).caller.replace(/:\d+$/, "");
}

// Rules and sockets must agree on the mark, whichever it is.
for (const [backend, exempt] of [
  ["nft", {}],
  ["iptables", { mark: 0x77 }],
] as const) {
  describe(
    `plaintext captured by rules of ${backend}`,
    needs({ root: true, commands: ["ip", "nft", "iptables", "curl"] }),
    () => {
      let mesh: Mesh;
      let network: Network;
      let clientHost: Host;
      let serverHost: Host;
      let server: Proxy;

      before(async () => {
        mesh = await startMesh();
        network = await createNetwork();
        mesh.atEnd(() => network.remove());
        [clientHost, serverHost] = [await network.host(), await network.host()];
        writeMesh(serverHost.address);
        await startApp(serverHost.address);
        await startApp(serverHost.address6);
        const inbound = { plaintext: ":15006", keepSource: true };
        server = await start("app", serverHost, { inbound, capture: { exempt } });
        const { command: uproxy, args } = commandLine("uproxy", [
          "capture",
          "apply",
          "--backend",
          backend,
          "--config",
          join(mesh.folder, "app.yaml"),
        ]);
        const [first = "", ...rest] = serverHost.prefix;
        await succeed(first, [...rest, uproxy, ...args]);
        await start("client", clientHost, {
          outbound: { listeners: [{ listen: LISTENER, to: "app:80" }], proxy: "off" },
        });
      });

      after(() => mesh.stop());

      function writeMesh(appAddress: string): void {
        mesh.write("mesh", [
          service("app", [{ name: "http", port: 80, targetPort: APP }]),
          workloadEntry("app", appAddress, { serviceAccount: "app" }),
          workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
        ]);
      }

      function start(name: string, host: Host, config: Readonly<Record<string, unknown>>): Promise<Proxy> {
        const defaults = {
          workload: undefined,
          outbound: undefined,
          admin: "off",
          readiness: undefined,
          metrics: undefined,
        };
        return mesh.uproxy({ name, address: host.address, prefix: host.prefix, config: { ...defaults, ...config } });
      }

      async function startApp(address: string): Promise<void> {
        const script = join(import.meta.dirname, "../support/app-process.ts");
        const [first = "", ...rest] = serverHost.prefix;
        const args = [...rest, process.execPath, script, "http", address, String(APP)];
        const program = startProgram({ name: `app at ${address}`, command: first, args });
        mesh.atEnd(() => program.stop());
        await program.line(/^ready$/);
      }

      test("the app sees the caller of captured plaintext, and the log what it wanted", async () => {
        assert.equal(callerOf(await curl(clientHost, `http://${serverHost.address}:${APP}/`)), clientHost.address);
        const line = await server.access({ direction: "inbound", "dst.addr": `${serverHost.address}:${APP}` });
        assert.match(String(line["src.addr"]), new RegExp(`^${clientHost.address.replaceAll(".", "\\.")}:\\d+$`));
        assert.equal(line["src.identity"], undefined);
        assert.equal(line["code"], undefined);
      });

      test("the app sees the caller of a tunnel", async () => {
        assert.equal(callerOf(await curl(clientHost, `http://${LISTENER}/`)), clientHost.address);
        const line = await server.access({ direction: "inbound", "dst.hbone_addr": `${serverHost.address}:15008` });
        assert.equal(line["code"], undefined);
      });

      test("an address that is not the workload's own is refused, though capture brought it here", async () => {
        const refused = await curl(clientHost, `http://[${serverHost.address6}]:${APP}/`);
        assert.notEqual(refused.code, 0);
        await server.access({ code: "DESTINATION_NOT_MINE", "dst.addr": `[${serverHost.address6}]:${APP}` });
      });

      test("STRICT refuses plaintext with a reset and leaves the tunnel alone", async () => {
        mesh.write("strict", [peerAuthentication("all", "STRICT", {})]);
        const refused = await until("a refusal", async () => {
          const result = await curl(clientHost, `http://${serverHost.address}:${APP}/`);
          return result.code === 0 ? undefined : result;
        });
        // A reset that is quicker than curl's look at its socket is a failed connect to it.
        assert.ok(refused.code === 56 || refused.code === 7, `curl's exit code ${refused.code}`);
        await server.access({ code: "MTLS_REQUIRED" });
        assert.equal(callerOf(await curl(clientHost, `http://${LISTENER}/`)), clientHost.address);
        mesh.remove("strict");
      });

      test("who dials 15006 itself is told apart", async () => {
        const refused = await curl(clientHost, `http://${serverHost.address}:15006/`);
        assert.notEqual(refused.code, 0);
        await server.access({ code: "SELF_CALL" });
      });

      test("over IPv6 it is the same", async () => {
        writeMesh(serverHost.address6);
        const plain = await until("an answer", async () => {
          const result = await curl(clientHost, `http://[${serverHost.address6}]:${APP}/`);
          return result.code === 0 ? result : undefined;
        });
        assert.equal(callerOf(plain), clientHost.address6);
        const tunnelled = await until("an answer over the tunnel", async () => {
          const result = await curl(clientHost, `http://${LISTENER}/v6`);
          return result.code === 0 ? result : undefined;
        });
        assert.equal(callerOf(tunnelled), clientHost.address6);
        await server.access({ direction: "inbound", "dst.hbone_addr": `[${serverHost.address6}]:15008` });
        writeMesh(serverHost.address);
      });
    },
  );
}

describe("kept source addresses", needs({ root: true, commands: ["setpriv"] }), () => {
  test("without the capability it does not start, and says which it needs", async (context) => {
    const mesh = await startMesh();
    context.after(() => mesh.stop());
    mesh.write("mesh", [service("app", [{ name: "http", port: 80 }])]);
    const identity = await mesh.issue("app");
    const program = spawnWithConfig("uproxy", {
      name: "unprivileged",
      folder: mesh.folder,
      prefix: [command("setpriv"), "--bounding-set", "-net_admin,-net_raw"],
      config: {
        identity: { files: identity.folder },
        resources: { files: mesh.resources },
        inbound: { hbone: "127.0.0.1:0", keepSource: true },
        outbound: { proxy: "off" },
        admin: "off",
        readiness: "off",
        metrics: "off",
      },
    });
    assert.equal((await program.exited).code, 1);
    assert.match(program.errors.join("\n"), /inbound\.keepSource: .*SO_MARK needs CAP_NET_ADMIN: EPERM/);
  });
});
