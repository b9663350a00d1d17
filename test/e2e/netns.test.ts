// Uproxies on separate hosts with their default ports on all interfaces: network namespaces joined by a bridge. Here are also the
// faults that loopback cannot have: a cable that is cut, a host that starts late.
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { echoed, startLab, type Lab } from "../support/lab.ts";
import type { Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import type { Result } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const APP = 8080;
const ECHO = 7001;
const LISTENER = "127.0.0.1:9080";
const ECHO_LISTENER = "127.0.0.1:9001";
/** PINGs that find a dead path soon; the defaults take 30 seconds. */
const QUICK_PING = { limits: { pingInterval: "500ms", pingTimeout: "1s" } };

describe("uproxies on separate hosts", needs({ root: true, commands: ["ip", "nft", "curl"] }), () => {
  let lab: Lab;
  let clientHost: Host;
  let serverHost: Host;
  let lateHost: Host;
  let client: Proxy;
  let server: Proxy;

  before(async () => {
    lab = await startLab();
    [clientHost, serverHost, lateHost] = [await lab.host(), await lab.host(), await lab.host()];
    lab.mesh.write("mesh", [
      service("app", [
        { name: "http", port: 80, targetPort: APP },
        { name: "tcp", port: ECHO },
      ]),
      service("late", [{ name: "http", port: 80, targetPort: APP }]),
      workloadEntry("app", serverHost.address, { serviceAccount: "app" }),
      workloadEntry("late", lateHost.address, { serviceAccount: "late" }),
      workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
    ]);
    await lab.app("http", serverHost, APP);
    await lab.app("echo", serverHost, ECHO);
    server = await lab.uproxy("app", serverHost);
    client = await lab.uproxy("client", clientHost, {
      outbound: {
        listeners: [
          { listen: LISTENER, to: "app:80" },
          { listen: ECHO_LISTENER, to: `app:${ECHO}` },
          { listen: "127.0.0.1:9081", to: "late:80" },
        ],
      },
      ...QUICK_PING,
    });
  });

  after(() => lab.stop());

  const curl = (host: Host, ...args: readonly string[]): Promise<Result> => lab.curl(host, ...args);
  const nft = (host: Host, ...args: readonly string[]): Promise<string> => lab.done(host, "nft", ...args);

  test("an app reaches another host's app, which sees the call come from its own uproxy", async () => {
    const { app, url, caller } = echoed(await curl(clientHost, `http://${LISTENER}/hello`));
    assert.equal(app, serverHost.address);
    assert.equal(url, "/hello");
    assert.match(caller, new RegExp(`^${serverHost.address.replaceAll(".", "\\.")}:`));
    const line = await client.access({ "dst.workload": "app" });
    assert.equal(line["src.workload"], "client", "the uproxy found its own workload by account and address");
  });

  test("between the hosts there is the tunnel port and nothing else", async () => {
    await nft(serverHost, "add table inet watch");
    await nft(serverHost, "add chain inet watch input { type filter hook input priority 0; }");
    await nft(serverHost, `add rule inet watch input iifname eth0 tcp dport 15008 counter comment "tunnel"`);
    await nft(serverHost, `add rule inet watch input iifname eth0 tcp dport != 15008 counter comment "other"`);
    for (let count = 0; count < 5; count++) await curl(clientHost, `http://${LISTENER}/${count}`);
    const rules = await nft(serverHost, "list chain inet watch input");
    assert.match(rules, /dport 15008 counter packets [1-9]\d* .*"tunnel"/);
    assert.match(rules, /counter packets 0 bytes 0 comment "other"/);
  });

  test("admin is on loopback only, readiness and metrics are for everybody", async () => {
    const outside = await curl(clientHost, `http://${serverHost.address}:15000/config_dump`);
    assert.equal(outside.code, 7, "curl's exit code for a refused connection");
    const inside = await curl(serverHost, "http://127.0.0.1:15000/config_dump");
    assert.equal(inside.code, 0, inside.stderr);
    for (const port of [15000, 15080, 15008]) {
      const back = await curl(serverHost, "--verbose", "--socks5", "127.0.0.1:15080", `http://127.0.0.1:${port}/`);
      assert.notEqual(back.code, 0, `the proxy leads to the proxy's own port ${port}`);
    }
    await server.access({ code: "SELF_CALL", "dst.addr": "127.0.0.1:15000" });
    const ready = await curl(clientHost, `http://${serverHost.address}:15021/healthz/ready`);
    assert.equal(ready.code, 0, ready.stderr);
    const metrics = await curl(clientHost, `http://${serverHost.address}:15020/metrics`);
    assert.match(metrics.stdout, /^istio_tcp_connections_opened_total\{.*reporter="destination"/m);
  });

  test("a host that starts late is used as soon as it is there", async () => {
    const early = await curl(clientHost, "http://127.0.0.1:9081/");
    assert.notEqual(early.code, 0);
    await lab.app("http", lateHost, APP);
    await lab.uproxy("late", lateHost);
    await until(
      "an answer of the late host",
      async () => (await curl(clientHost, "http://127.0.0.1:9081/")).code === 0,
    );
  });

  test("a cut cable ends live tunnels with a reset and is forgotten when it is whole again", async () => {
    const script = join(import.meta.dirname, "../support/hold-process.ts");
    const [host = "", port = ""] = ECHO_LISTENER.split(":");
    const holder = await lab.start("holder", clientHost, /^open$/, process.execPath, script, host, port);
    await lab.network.cable(serverHost, "down");
    await holder.line(/^ended: ECONNRESET$/, 20_000);
    await client.access({ direction: "outbound", code: "PEER_LOST" });
    await lab.network.cable(serverHost, "up");
    await until("an answer again", async () => (await curl(clientHost, `http://${LISTENER}/`)).code === 0);
  });
});
