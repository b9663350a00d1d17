// Captured plaintext and kept source addresses on separate hosts, with the rules that `uproxy capture` makes by either backend.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { command } from "../support/env.ts";
import { echoed, startLab, type Lab } from "../support/lab.ts";
import { startMesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import type { Result } from "../support/process.ts";
import { spawnWithConfig } from "../support/programs.ts";
import { peerAuthentication, service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const APP = 8080;
const LISTENER = "127.0.0.1:9080";

/** The address from which the app was called. */
function callerOf(result: Result): string {
  return echoed(result).caller.replace(/:\d+$/, "");
}

const wanted = needs({ root: true, commands: ["ip", "nft", "iptables", "curl"] });

// Rules and sockets must agree on the mark, whichever it is.
for (const [backend, exempt] of [
  ["nft", {}],
  ["iptables", { mark: 0x77 }],
] as const) {
  describe(`plaintext captured by rules of ${backend}`, wanted, () => {
    let lab: Lab;
    let clientHost: Host;
    let serverHost: Host;
    let server: Proxy;

    before(async () => {
      lab = await startLab();
      [clientHost, serverHost] = [await lab.host(), await lab.host()];
      writeMesh(serverHost.address);
      for (const address of [serverHost.address, serverHost.address6]) await lab.app("http", serverHost, APP, address);
      const inbound = { plaintext: ":15006", keepSource: true };
      server = await lab.uproxy("app", serverHost, { inbound, capture: { exempt } });
      await lab.capture(serverHost, "apply", "app", backend);
      await lab.uproxy("client", clientHost, {
        outbound: { listeners: [{ listen: LISTENER, to: "app:80" }], proxy: "off" },
      });
    });

    after(() => lab.stop());

    const curl = (host: Host, url: string): Promise<Result> => lab.curl(host, url);

    function writeMesh(appAddress: string): void {
      lab.mesh.write("mesh", [
        service("app", [{ name: "http", port: 80, targetPort: APP }]),
        workloadEntry("app", appAddress, { serviceAccount: "app" }),
        workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
      ]);
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
      lab.mesh.write("strict", [peerAuthentication("all", "STRICT", {})]);
      const refused = await until("a refusal", async () => {
        const result = await curl(clientHost, `http://${serverHost.address}:${APP}/`);
        return result.code === 0 ? undefined : result;
      });
      // A reset that is quicker than curl's look at its socket is a failed connect to it.
      assert.ok(refused.code === 56 || refused.code === 7, `curl's exit code ${refused.code}`);
      await server.access({ code: "MTLS_REQUIRED" });
      assert.equal(callerOf(await curl(clientHost, `http://${LISTENER}/`)), clientHost.address);
      lab.mesh.remove("strict");
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
      // The client's uproxy may take the new address into use later than the app's has.
      await until("an answer over a tunnel by IPv6", async () => {
        const result = await curl(clientHost, `http://${LISTENER}/v6`);
        return result.code === 0 && callerOf(result) === clientHost.address6;
      });
      await server.access({ direction: "inbound", "dst.hbone_addr": `[${serverHost.address6}]:15008` });
      writeMesh(serverHost.address);
    });
  });
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
