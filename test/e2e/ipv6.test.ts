// IPv6 where it differs from IPv4: what `:port` and `0.0.0.0:port` are bound to, brackets in every place where an address is written,
// address types of SOCKS5. The suites themselves run on IPv6 in `test/families`.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Echoed } from "../support/apps.ts";
import { spiffeId } from "../support/identities.ts";
import { echoed, startLab, type Lab } from "../support/lab.ts";
import type { Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import type { Result } from "../support/process.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";

const APP = 8080;
const DENIED = 8082;
const PROXY = "[::1]:15080";

describe("IPv6 and dual stack", needs({ root: true, commands: ["ip", "curl", "sysctl"] }), () => {
  let lab: Lab;
  let clientHost: Host;
  let serverHost: Host;
  let narrowHost: Host;
  let client: Proxy;
  let server: Proxy;

  before(async () => {
    lab = await startLab();
    [clientHost, serverHost, narrowHost] = [await lab.host(), await lab.host(), await lab.host()];
    // What `:port` means must not depend on how the host is set up.
    await lab.done(serverHost, "sysctl", "-qw", "net.ipv6.bindv6only=1");
    lab.mesh.write("mesh", [
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
    for (const address of [serverHost.address, serverHost.address6]) await lab.app("http", serverHost, APP, address);
    server = await lab.uproxy(
      "six",
      serverHost,
      { workload: { name: "six" } },
      { account: "app", address: serverHost.address6 },
    );
    await lab.uproxy("narrow", narrowHost, { inbound: { hbone: "0.0.0.0:15008" }, workload: { name: "narrow" } });
    client = await lab.uproxy(
      "client",
      clientHost,
      { outbound: { proxy: PROXY, listeners: [{ listen: "[::1]:9080", to: "six:80" }] } },
      { address: clientHost.address6 },
    );
  });

  after(() => lab.stop());

  const curl = (...args: readonly string[]): Promise<Result> => lab.curl(clientHost, "--noproxy", "", ...args);

  async function ask(...args: readonly string[]): Promise<Echoed> {
    return echoed(await curl(...args));
  }

  test(":port takes both families, though the host is set to keep them apart", async () => {
    for (const name of ["six", "four"]) {
      await ask("--proxytunnel", "--proxy", `http://${PROXY}`, `http://${name}/`);
    }
    for (const address of [serverHost.address, `[${serverHost.address6}]`]) {
      const ready = await curl(`http://${address}:15021/healthz/ready`);
      assert.equal(ready.code, 0, ready.stderr);
    }
  });

  test("0.0.0.0:port takes IPv4 alone", async () => {
    const refused = await curl("--proxytunnel", "--proxy", `http://${PROXY}`, "http://narrow/", "--verbose");
    assert.match(refused.stderr, /< culvert-code: PEER_REFUSED/);
    const line = await client.access({ code: "PEER_REFUSED" });
    assert.equal(line["dst.hbone_addr"], `[${narrowHost.address6}]:15008`);
    const { stdout } = await lab.on(narrowHost, "bash", "-c", `: < /dev/tcp/${narrowHost.address}/15008 && echo open`);
    assert.equal(stdout, "open");
  });

  test("an explicit listener on [::1], and brackets around every address in both logs", async () => {
    const { app, caller } = await ask("http://[::1]:9080/");
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
        assert.equal((await ask(...through, `http://[${address}]:${APP}/`)).app, serverHost.address6);
      }
      assert.equal((await ask(...through, "http://[fd99:96::6]/")).app, serverHost.address6);
      await client.access({ "dst.addr": "[fd99:96::6]:80", "dst.service": "six.default.svc.cluster.local" });
    });
  }

  test("an IPv4 address in IPv6 clothes, a zone and a missing bracket are refused, not guessed at", async () => {
    for (const target of [`[::ffff:${serverHost.address}]:${APP}`, "[fe80::1%eth0]:80", "fd99::2:8080", "[fd99::2]"]) {
      const script = `exec 3<>/dev/tcp/::1/15080; printf 'CONNECT ${target.replace("%", "%%")} HTTP/1.1\\r\\n\\r\\n' >&3; head -1 <&3`;
      const { stdout } = await lab.on(clientHost, "bash", "-c", script);
      assert.match(stdout, /^HTTP\/1\.1 400 /, target);
    }
  });

  test("a policy that asks for an IPv6 network decides", async () => {
    const denied = await curl("--socks5", PROXY, `http://[${serverHost.address6}]:${DENIED}/`);
    assert.notEqual(denied.code, 0);
    await server.access({ code: "DENIED_BY_POLICY", "dst.addr": `[${serverHost.address6}]:${DENIED}` });
  });
});
