// Uproxies on separate hosts with their default ports on all interfaces: network namespaces joined by a bridge. Here are also the
// faults that loopback cannot have: a cable that is cut, a host that starts late.
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { command } from "../support/env.ts";
import type { Echoed } from "../support/apps.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { createNetwork, type Host, type Network } from "../support/netns.ts";
import { run, startProgram, succeed, type Program, type Result } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const APP = 8080;
const ECHO = 7001;
const LISTENER = "127.0.0.1:9080";
const ECHO_LISTENER = "127.0.0.1:9001";
/** PINGs that find a dead path soon; the defaults take 30 seconds. */
const QUICK_PING = { limits: { pingInterval: "500ms", pingTimeout: "1s" } };

function curl(host: Host, ...args: readonly string[]): Promise<Result> {
  const [first = "", ...rest] = host.prefix;
  return run(first, [...rest, command("curl"), "--silent", "--show-error", "--max-time", "10", ...args]);
}

async function nft(host: Host, ...args: readonly string[]): Promise<string> {
  const [first = "", ...rest] = host.prefix;
  return succeed(first, [...rest, command("nft"), ...args]);
}

describe("uproxies on separate hosts", needs({ root: true, commands: ["ip", "nft", "curl"] }), () => {
  let mesh: Mesh;
  let network: Network;
  let clientHost: Host;
  let serverHost: Host;
  let lateHost: Host;
  let client: Proxy;
  let server: Proxy;

  before(async () => {
    mesh = await startMesh();
    network = await createNetwork();
    mesh.atEnd(() => network.remove());
    [clientHost, serverHost, lateHost] = [await network.host(), await network.host(), await network.host()];
    mesh.write("mesh", [
      service("app", [
        { name: "http", port: 80, targetPort: APP },
        { name: "tcp", port: ECHO },
      ]),
      service("late", [{ name: "http", port: 80, targetPort: APP }]),
      workloadEntry("app", serverHost.address, { serviceAccount: "app" }),
      workloadEntry("late", lateHost.address, { serviceAccount: "late" }),
      workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
    ]);
    await startApp("http", serverHost, APP);
    await startApp("echo", serverHost, ECHO);
    server = await mesh.uproxy({
      name: "app",
      address: serverHost.address,
      prefix: serverHost.prefix,
      config: allDefaults(),
    });
    client = await mesh.uproxy({
      name: "client",
      address: clientHost.address,
      prefix: clientHost.prefix,
      config: {
        ...allDefaults(),
        outbound: {
          listeners: [
            { listen: LISTENER, to: "app:80" },
            { listen: ECHO_LISTENER, to: `app:${ECHO}` },
            { listen: "127.0.0.1:9081", to: "late:80" },
          ],
        },
        ...QUICK_PING,
      },
    });
  });

  after(() => mesh.stop());

  async function startApp(kind: string, host: Host, port: number): Promise<Program> {
    const script = join(import.meta.dirname, "../support/app-process.ts");
    const [first, ...args] = [...host.prefix, process.execPath, script, kind, host.address, String(port)];
    const program = startProgram({ name: `${kind} on ${host.name}`, command: first ?? "", args });
    mesh.atEnd(() => program.stop());
    await program.line(/^ready$/);
    return program;
  }

  test("an app reaches another host's app, which sees the call come from its own uproxy", async () => {
    const { stdout, stderr } = await curl(clientHost, `http://${LISTENER}/hello`);
    assert.notEqual(stdout, "", stderr);
    const echoed = JSON.parse(stdout) as Echoed;
    assert.equal(echoed.app, serverHost.address);
    assert.equal(echoed.url, "/hello");
    assert.match(echoed.caller, new RegExp(`^${serverHost.address.replaceAll(".", "\\.")}:`));
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
    await startApp("http", lateHost, APP);
    await mesh.uproxy({ name: "late", address: lateHost.address, prefix: lateHost.prefix, config: allDefaults() });
    await until(
      "an answer of the late host",
      async () => (await curl(clientHost, "http://127.0.0.1:9081/")).code === 0,
    );
  });

  test("a cut cable ends live tunnels with a reset and is forgotten when it is whole again", async () => {
    const [first = "", ...rest] = clientHost.prefix;
    const script = join(import.meta.dirname, "../support/hold-process.ts");
    const [host = "", port = ""] = ECHO_LISTENER.split(":");
    const holder = startProgram({
      name: "holder",
      command: first,
      args: [...rest, process.execPath, script, host, port],
    });
    mesh.atEnd(() => holder.stop());
    await holder.line(/^open$/);
    await network.cable(serverHost, "down");
    await holder.line(/^ended: ECONNRESET$/, 20_000);
    await client.access({ direction: "outbound", code: "PEER_LOST" });
    await network.cable(serverHost, "up");
    await until("an answer again", async () => (await curl(clientHost, `http://${LISTENER}/`)).code === 0);
  });
});

/** The addresses that a uproxy has when nothing is said: all interfaces, and loopback for admin and proxy. */
function allDefaults(): Readonly<Record<string, unknown>> {
  const defaults: Record<string, unknown> = {};
  for (const key of ["workload", "inbound", "outbound", "admin", "readiness", "metrics"]) defaults[key] = undefined;
  return defaults;
}
