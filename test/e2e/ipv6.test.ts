// IPv6 where it differs from IPv4: what `:port` and `0.0.0.0:port` are bound to, brackets in every place where an address is written,
// address types of SOCKS5. The suites themselves run on IPv6 in `test/families`.
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import type { Echoed } from "../support/apps.ts";
import { command } from "../support/env.ts";
import { spiffeId } from "../support/identities.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { createNetwork, type Host, type Network } from "../support/netns.ts";
import { run, startProgram, succeed, type Result } from "../support/process.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";

const APP = 8080;
const DENIED = 8082;
const PROXY = "[::1]:15080";

function inside(host: Host, tool: string, ...args: readonly string[]): Promise<Result> {
  const [first = "", ...rest] = host.prefix;
  return run(first, [...rest, command(tool), ...args]);
}

function curl(host: Host, ...args: readonly string[]): Promise<Result> {
  return inside(host, "curl", "--silent", "--show-error", "--max-time", "10", "--noproxy", "", ...args);
}

describe("IPv6 and dual stack", needs({ root: true, commands: ["ip", "curl", "sysctl"] }), () => {
  let mesh: Mesh;
  let network: Network;
  let clientHost: Host;
  let serverHost: Host;
  let narrowHost: Host;
  let client: Proxy;
  let server: Proxy;

  before(async () => {
    mesh = await startMesh();
    network = await createNetwork();
    mesh.atEnd(() => network.remove());
    [clientHost, serverHost, narrowHost] = [await network.host(), await network.host(), await network.host()];
    // What `:port` means must not depend on how the host is set up.
    await succeed(command("ip"), ["netns", "exec", serverHost.name, "sysctl", "-qw", "net.ipv6.bindv6only=1"]);
    mesh.write("mesh", [
      service("six", [{ name: "http", port: 80, targetPort: APP }], { app: "six", clusterIP: "fd99:96::6" }),
      service("four", [{ name: "http", port: 80, targetPort: APP }], { app: "four" }),
      service("narrow", [{ name: "http", port: 80, targetPort: APP }], { app: "narrow" }),
      workloadEntry("six", serverHost.address6, { serviceAccount: "app", app: "six" }),
      workloadEntry("four", serverHost.address, { serviceAccount: "app", app: "four" }),
      workloadEntry("narrow", narrowHost.address6, { serviceAccount: "narrow", app: "narrow" }),
      workloadEntry("client", clientHost.address6, { serviceAccount: "client" }),
      authorizationPolicy("by-address", "DENY", { app: "six" }, [
        { from: [{ source: { ipBlocks: ["fd99::/64"] } }], to: [{ operation: { ports: [String(DENIED)] } }] },
      ]),
    ]);
    for (const address of [serverHost.address, serverHost.address6]) await startApp(serverHost, address);
    server = await mesh.uproxy({
      name: "six",
      account: "app",
      address: serverHost.address6,
      prefix: serverHost.prefix,
      config: { ...usual(), workload: { name: "six" } },
    });
    await mesh.uproxy({
      name: "narrow",
      address: narrowHost.address,
      prefix: narrowHost.prefix,
      config: { ...usual(), inbound: { hbone: "0.0.0.0:15008" }, workload: { name: "narrow" } },
    });
    client = await mesh.uproxy({
      name: "client",
      address: clientHost.address6,
      prefix: clientHost.prefix,
      config: { ...usual(), outbound: { proxy: PROXY, listeners: [{ listen: "[::1]:9080", to: "six:80" }] } },
    });
  });

  after(() => mesh.stop());

  async function startApp(host: Host, address: string): Promise<void> {
    const script = join(import.meta.dirname, "../support/app-process.ts");
    const [first, ...args] = [...host.prefix, process.execPath, script, "http", address, String(APP)];
    const program = startProgram({ name: `app at ${address}`, command: first ?? "", args });
    mesh.atEnd(() => program.stop());
    await program.line(/^ready$/);
  }

  async function echoed(...args: readonly string[]): Promise<Echoed> {
    const { stdout, stderr, code } = await curl(clientHost, ...args);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Echoed;
  }

  test(":port takes both families, though the host is set to keep them apart", async () => {
    for (const name of ["six", "four"]) {
      await echoed("--proxytunnel", "--proxy", `http://${PROXY}`, `http://${name}/`);
    }
    for (const address of [serverHost.address, `[${serverHost.address6}]`]) {
      const ready = await curl(clientHost, `http://${address}:15021/healthz/ready`);
      assert.equal(ready.code, 0, ready.stderr);
    }
  });

  test("0.0.0.0:port takes IPv4 alone", async () => {
    const refused = await curl(
      clientHost,
      "--proxytunnel",
      "--proxy",
      `http://${PROXY}`,
      "http://narrow/",
      "--verbose",
    );
    assert.match(refused.stderr, /< culvert-code: PEER_REFUSED/);
    const line = await client.access({ code: "PEER_REFUSED" });
    assert.equal(line["dst.hbone_addr"], `[${narrowHost.address6}]:15008`);
    const { stdout } = await inside(narrowHost, "bash", "-c", `: < /dev/tcp/${narrowHost.address}/15008 && echo open`);
    assert.equal(stdout, "open");
  });

  test("an explicit listener on [::1], and brackets around every address in both logs", async () => {
    const { app, caller } = await echoed("http://[::1]:9080/");
    assert.equal(app, serverHost.address6);
    assert.ok(caller.startsWith(`${serverHost.address6}:`), `the app was called by ${caller}`);
    const out = await client.access({ "dst.addr": "six:80", direction: "outbound", code: undefined });
    assert.match(String(out["src.addr"]), /^\[::1\]:\d+$/);
    assert.equal(out["dst.hbone_addr"], `[${serverHost.address6}]:15008`);
    const into = await server.access({ direction: "inbound", "dst.addr": `[${serverHost.address6}]:${APP}` });
    assert.match(String(into["src.addr"]), new RegExp(String.raw`^\[${clientHost.address6}\]:\d+$`));
    assert.equal(into["src.identity"], spiffeId("client"));
    assert.equal(into["src.workload"], "client", "the caller was found by its address");
  });

  for (const [way, through] of [
    ["CONNECT [address]:port", ["--proxytunnel", "--proxy", `http://${PROXY}`]],
    ["SOCKS5 with an IPv6 address", ["--socks5", PROXY]],
  ] as const) {
    test(`${way} leads to a workload however it is spelled, and to a virtual address`, async () => {
      for (const address of [serverHost.address6, "FD99:0000:0:0:0:0:0:2", "fd99::0.0.0.2"]) {
        assert.equal((await echoed(...through, `http://[${address}]:${APP}/`)).app, serverHost.address6);
      }
      assert.equal((await echoed(...through, "http://[fd99:96::6]/")).app, serverHost.address6);
      await client.access({ "dst.addr": "[fd99:96::6]:80", "dst.service": "six.default.svc.cluster.local" });
    });
  }

  test("an IPv4 address in IPv6 clothes, a zone and a missing bracket are refused, not guessed at", async () => {
    for (const target of [`[::ffff:${serverHost.address}]:${APP}`, "[fe80::1%eth0]:80", "fd99::2:8080", "[fd99::2]"]) {
      const script = `exec 3<>/dev/tcp/::1/15080; printf 'CONNECT ${target.replace("%", "%%")} HTTP/1.1\\r\\n\\r\\n' >&3; head -1 <&3`;
      const { stdout } = await inside(clientHost, "bash", "-c", script);
      assert.match(stdout, /^HTTP\/1\.1 400 /, target);
    }
  });

  test("a policy that asks for an IPv6 network decides", async () => {
    const denied = await curl(clientHost, "--socks5", PROXY, `http://[${serverHost.address6}]:${DENIED}/`);
    assert.notEqual(denied.code, 0);
    await server.access({ code: "DENIED_BY_POLICY", "dst.addr": `[${serverHost.address6}]:${DENIED}` });
  });
});

/** The addresses that a uproxy has when nothing is said. */
function usual(): Readonly<Record<string, unknown>> {
  const defaults: Record<string, unknown> = {};
  for (const key of ["workload", "inbound", "outbound", "admin", "readiness", "metrics"]) defaults[key] = undefined;
  return defaults;
}
