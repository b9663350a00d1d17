// What a pair of uproxies promises when the other side or the path between them fails: network namespaces, the faults made by signals,
// nftables and traffic control. PING limits are short so that the tests are.
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { command } from "../support/env.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { createNetwork, type Host, type Network } from "../support/netns.ts";
import { memory } from "../support/proc.ts";
import { startProgram, succeed, type Program } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { observe } from "../support/until.ts";

const ECHO = 7001;
const QUICK_PING = { limits: { pingInterval: "500ms", pingTimeout: "2s" } };
/** Finding a dead path takes an interval and a timeout; the rest is for a busy machine. */
const FOUND_MS = 20_000;

/** What a crowd tells at its end. */
interface Fared {
  readonly ends: Readonly<Record<string, number>>;
  readonly echoes: number;
}

describe("faults of the peer and of the path", needs({ root: true, commands: ["ip", "nft", "tc", "curl"] }), () => {
  let mesh: Mesh;
  let network: Network;
  let clientHost: Host;
  let client: Proxy;
  const hosts = new Map<string, Host>();
  const servers = new Map<string, Proxy>();
  const listeners = new Map<string, number>();

  before(async () => {
    mesh = await startMesh();
    network = await createNetwork();
    mesh.atEnd(() => network.remove());
    clientHost = await network.host();
    const names = ["victim", "steady", "path"];
    for (const [index, name] of names.entries()) {
      hosts.set(name, await network.host());
      listeners.set(name, 9001 + index);
    }
    mesh.write("mesh", [
      workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
      ...names.flatMap((name) => [
        service(name, [{ name: "tcp", port: ECHO }]),
        workloadEntry(name, hostOf(name).address, { serviceAccount: name }),
      ]),
    ]);
    await Promise.all(
      names.map(async (name) => {
        const host = hostOf(name);
        await start(host, "app-process", "echo", host.address, String(ECHO)).line(/^ready$/);
        const proxy = await mesh.uproxy({
          name,
          address: host.address,
          prefix: host.prefix,
          config: { ...usual(), ...QUICK_PING },
        });
        servers.set(name, proxy);
      }),
    );
    client = await mesh.uproxy({
      name: "client",
      address: clientHost.address,
      prefix: clientHost.prefix,
      config: {
        ...usual(),
        ...QUICK_PING,
        outbound: {
          listeners: names.map((name) => ({ listen: `127.0.0.1:${listeners.get(name)}`, to: `${name}:${ECHO}` })),
        },
      },
    });
  });

  after(() => mesh.stop());

  function hostOf(name: string): Host {
    const host = hosts.get(name);
    assert.ok(host);
    return host;
  }

  function serverOf(name: string): Proxy {
    const proxy = servers.get(name);
    assert.ok(proxy);
    return proxy;
  }

  function start(host: Host, script: string, ...args: readonly string[]): Program {
    const path = join(import.meta.dirname, `../support/${script}.ts`);
    const [first, ...rest] = [...host.prefix, process.execPath, path, ...args];
    const program = startProgram({ name: `${script} ${args.join(" ")}`, command: first ?? "", args: rest });
    mesh.atEnd(() => program.kill());
    return program;
  }

  /** Connections of the client's app to a service. */
  function crowd(kind: "hold" | "talk" | "bulk", name: string, count: number): Program {
    return start(clientHost, "crowd-process", kind, "127.0.0.1", String(listeners.get(name)), String(count));
  }

  async function inside(name: string, tool: string, ...args: readonly string[]): Promise<string> {
    const [first = "", ...rest] = hostOf(name).prefix;
    return succeed(first, [...rest, command(tool), ...args]);
  }

  /** A rule in force on a host for the length of `work`. */
  async function withRule(
    name: string,
    hook: "input" | "output",
    rule: string,
    work: () => Promise<void>,
  ): Promise<void> {
    await inside(name, "nft", "add table inet fault");
    await inside(name, "nft", `add chain inet fault way { type filter hook ${hook} priority 0; }`);
    await inside(name, "nft", `add rule inet fault way ${rule}`);
    try {
      await work();
    } finally {
      await inside(name, "nft", "delete table inet fault");
    }
  }

  /** Asks until an answer comes: a peer that has failed is asked again after a wait that grows. */
  async function worksAgain(name: string): Promise<void> {
    for (let round = 0; ; round++) {
      const { ends } = await fared(crowd("bulk", name, 1), FOUND_MS);
      if (ends["whole"] === 1) return;
      assert.ok(round < 100, `${name} does not work again: ${JSON.stringify(ends)}`);
      await observe(100);
    }
  }

  test("F2 a frozen peer is found by PING; its streams end, and it is used again once it thaws", async () => {
    const talking = crowd("talk", "steady", 5);
    const held = crowd("hold", "path", 20);
    await Promise.all([talking.line(/^open$/), held.line(/^open$/)]);
    serverOf("path").program.signal("SIGSTOP");
    // The signal was not a request to end.
    serverOf("path").program.asked = false;
    try {
      assert.deepEqual((await fared(held, FOUND_MS)).ends, { ECONNRESET: 20 });
      await client.access({ direction: "outbound", "dst.workload": "path", code: "PEER_LOST" });
    } finally {
      serverOf("path").program.signal("SIGCONT");
      serverOf("path").program.asked = false;
    }
    await worksAgain("path");
    const { ends, echoes } = await stopped(talking);
    assert.deepEqual(ends, { whole: 5 });
    assert.ok(echoes > 0);
  });

  test("F3 a path that drops one way is found by PING, and no dead session is handed out afterwards", async () => {
    const held = crowd("hold", "path", 20);
    await held.line(/^open$/);
    await withRule("path", "output", "tcp sport 15008 drop", async () => {
      assert.deepEqual((await fared(held, FOUND_MS)).ends, { ECONNRESET: 20 });
    });
    await worksAgain("path");
    assert.deepEqual((await fared(crowd("bulk", "path", 5))).ends, { whole: 5 });
  });

  for (const [percent, count] of [
    [1, 8],
    [5, 4],
    [20, 1],
  ] as const) {
    test(`F4 ${percent} % loss: every byte arrives, and no PING is given up`, async () => {
      const lost = client.log.filter(({ code }) => code === "PEER_LOST").length;
      await withRule("path", "input", `numgen random mod 100 < ${percent} drop`, async () => {
        assert.deepEqual((await fared(crowd("bulk", "path", count), 60_000)).ends, { whole: count });
      });
      assert.equal(client.log.filter(({ code }) => code === "PEER_LOST").length, lost);
    });
  }

  test("F5 a narrow link: siblings progress, and memory stays", async () => {
    const talking = crowd("talk", "path", 3);
    await talking.line(/^open$/);
    const atRest = memory(client.program.pid).anon;
    await inside(
      "path",
      "tc",
      "qdisc",
      "add",
      "dev",
      "eth0",
      "root",
      "tbf",
      "rate",
      // A tenth of the usual time for a PING: as narrow as one megabit is with the usual one.
      "10mbit",
      "burst",
      "16kb",
      "limit",
      "64kb",
    );
    try {
      const loads = [crowd("bulk", "path", 4), crowd("bulk", "path", 4)];
      const already = (await metricOf(client)) ?? 0;
      await observe(4_000);
      assert.ok(((await metricOf(client)) ?? 0) > already, "nothing moved on the narrow link");
      for (const proxy of [client, serverOf("path")]) {
        const { anon } = memory(proxy.program.pid);
        assert.ok(anon < atRest + 64, `${proxy.name} grew to ${anon.toFixed(1)} MiB`);
      }
      for (const load of loads) await load.kill();
    } finally {
      await inside("path", "tc", "qdisc", "delete", "dev", "eth0", "root");
    }
    const { ends } = await stopped(talking);
    assert.deepEqual(ends, { whole: 3 });
  });

  test("F6 a peer that resets every connection is not dialled for each caller", async () => {
    await withRule("victim", "input", "tcp dport 15008 tcp flags syn counter reject with tcp reset", async () => {
      for (let round = 0; round < 3; round++) {
        assert.deepEqual((await fared(crowd("hold", "victim", 100))).ends, { ECONNRESET: 100 });
      }
      const rules = await inside("victim", "nft", "list table inet fault");
      const dials = Number(/counter packets (\d+)/.exec(rules)?.[1]);
      assert.ok(dials >= 1 && dials <= 30, `${dials} dials for 300 callers`);
    });
    await client.access({ "dst.workload": "victim", code: "PEER_REFUSED" });
    await worksAgain("victim");
  });

  test("F8 a quiet tunnel outlives many PINGs and costs no descriptor", async () => {
    const [first = "", ...rest] = clientHost.prefix;
    const script = join(import.meta.dirname, "../support/hold-process.ts");
    const args = [...rest, process.execPath, script, "127.0.0.1", String(listeners.get("steady"))];
    const holder = startProgram({ name: "holder", command: first, args });
    mesh.atEnd(() => holder.kill());
    await holder.line(/^open$/);
    await observe(4_000);
    assert.deepEqual(holder.output, ["open"]);
  });

  test("F1 a peer that is killed: its streams end with a reset, those of others go on", async () => {
    const talking = crowd("talk", "steady", 20);
    const held = crowd("hold", "victim", 500);
    await Promise.all([talking.line(/^open$/), held.line(/^open$/)]);
    await serverOf("victim").kill();
    assert.deepEqual((await fared(held)).ends, { ECONNRESET: 500 });
    assert.deepEqual((await fared(crowd("hold", "victim", 50))).ends, { ECONNRESET: 50 });
    const { ends } = await stopped(talking);
    assert.deepEqual(ends, { whole: 20 });
  });

  async function metricOf(proxy: Proxy): Promise<number | undefined> {
    const [first = "", ...rest] = clientHost.prefix;
    const url = `http://${proxy.address}:15020/metrics`;
    const text = await succeed(first, [...rest, command("curl"), "--silent", url]);
    const line = /^istio_tcp_sent_bytes_total\{[^}]*destination_workload="path"[^}]*\} (\d+)/m.exec(text);
    return line === null ? undefined : Number(line[1]);
  }
});

async function fared(program: Program, deadlineMs?: number): Promise<Fared> {
  return JSON.parse(await program.line(/^\{/, deadlineMs)) as Fared;
}

/** Ends a crowd that talks, and tells how it fared. */
async function stopped(program: Program): Promise<Fared> {
  program.signal("SIGTERM");
  return fared(program);
}

/** The addresses that a uproxy has when nothing is said. */
function usual(): Readonly<Record<string, unknown>> {
  const defaults: Record<string, unknown> = {};
  for (const key of ["workload", "inbound", "outbound", "admin", "readiness", "metrics"]) defaults[key] = undefined;
  return defaults;
}
