// Root. `node test/bench/capture.ts`: the path between an app and its uproxy, by an explicit listener, a REDIRECT rule of nftables and
// BPF (deploy/ebpf), in turns. `alone`: the app's tool talks to nginx and iperf3 in uproxy's place, so that there is nothing but the
// path; `pair`: through two uproxies to another host. Needs root, nft, clang, bpftool, nginx, wrk and iperf3.
import { join } from "node:path";
import process from "node:process";
import { mountControlGroups } from "../support/control-groups.ts";
import { command, REPOSITORY } from "../support/env.ts";
import { startMesh, type Mesh } from "../support/mesh.ts";
import { createNetwork, type Host } from "../support/netns.ts";
import { succeed, type Program } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";
import { spawnAnswering, spawnIperf } from "./apps.ts";
import { bulk, saturate } from "./load.ts";
import { median } from "./rounds.ts";

const ROUNDS = 3;
const SECONDS = 2;
const VIP = "10.96.0.10";
const HTTP = 8080;
const BULK = 5201;
const CAPTURED = 15001;
const SCRIPT = join(REPOSITORY, "deploy/ebpf/capture.sh");

interface Way {
  readonly name: string;
  readonly to: string;
  on(): Promise<unknown>;
  off(): Promise<unknown>;
}

type Figures = Map<string, number[]>;
const figures = new Map<string, Figures>();

function note(row: string, figure: string, value: number): void {
  const own = figures.get(row) ?? new Map<string, number[]>();
  figures.set(row, own.set(figure, [...(own.get(figure) ?? []), value]));
}

async function requests(row: string, host: string, port: number, prefix: readonly string[]): Promise<void> {
  const at = { host, port };
  const one = await saturate(at, { connections: 1, seconds: SECONDS, prefix });
  note(row, "p50 us c1", one.p50Ms * 1000);
  note(row, "req/s c32", (await saturate(at, { connections: 32, seconds: SECONDS, prefix })).perSecond);
  note(row, "conn/s", (await saturate(at, { connections: 8, seconds: SECONDS, close: true, prefix })).perSecond);
}

async function bytes(row: string, host: string, port: number, prefix: readonly string[]): Promise<void> {
  const at = { host, port };
  for (const direction of ["up", "down"] as const) {
    // An iperf3 server that has just been used refuses for a moment.
    const { gbitPerSecond } = await until(`iperf3 ${direction}`, () =>
      bulk(at, { direction, streams: 1, seconds: SECONDS, prefix }),
    );
    note(row, `Gbit/s ${direction}`, gbitPerSecond);
  }
}

async function answers(program: Program, host: Host, url: string): Promise<void> {
  const [first, ...rest] = [
    ...host.prefix,
    command("curl"),
    "--silent",
    "--max-time",
    "1",
    "--output",
    "/dev/null",
    url,
  ];
  await program.watch(`an answer at ${url}`, async () => (await succeed(first, rest)) === "");
}

/** The tools talk to what listens on the port that captured connections are turned to. */
async function alone(ways: readonly Way[], host: Host, prefix: readonly string[], folder: string): Promise<void> {
  const port = (way: Way): number => (way.to === VIP ? 80 : CAPTURED);
  const nginx = spawnAnswering(folder, CAPTURED, host.prefix);
  await answers(nginx, host, `http://127.0.0.1:${CAPTURED}/`);
  for (const way of ways) {
    await way.on();
    await requests(`alone, ${way.name}`, way.to, port(way), prefix);
    await way.off();
  }
  await nginx.stop();
  const iperf = spawnIperf(CAPTURED, host.prefix);
  for (const way of ways) {
    await way.on();
    await bytes(`alone, ${way.name}`, way.to, port(way), prefix);
    await way.off();
  }
  await iperf.stop();
}

/** Through a uproxy at either end. */
async function pair(ways: readonly Way[], prefix: readonly string[]): Promise<void> {
  for (const way of ways) {
    await way.on();
    await requests(`pair, ${way.name}`, way.to, way.to === VIP ? 80 : 9080, prefix);
    await bytes(`pair, ${way.name}`, way.to, way.to === VIP ? BULK : 9201, prefix);
    await way.off();
  }
}

async function main(mesh: Mesh): Promise<void> {
  const network = await createNetwork();
  mesh.atEnd(() => network.remove());
  const groups = await mountControlGroups();
  mesh.atEnd(() => groups.remove());
  const [appGroup, proxyGroup] = [groups.group("app"), groups.group("proxy")];
  const [host, server, bare] = [await network.host(), await network.host(), await network.host()];
  mesh.write("mesh", [
    service(
      "shop",
      [
        { name: "http", port: 80, targetPort: HTTP },
        { name: "tcp-bulk", port: BULK },
      ],
      { clusterIP: VIP },
    ),
    workloadEntry("shop", server.address, { serviceAccount: "shop" }),
    workloadEntry("client", host.address, { serviceAccount: "client" }),
  ]);
  const apps = [spawnAnswering(mesh.folder, HTTP, server.prefix), spawnIperf(BULK, server.prefix)];
  mesh.atEnd(async () => void (await Promise.all(apps.map((app) => app.stop()))));
  const quiet = {
    admin: "127.0.0.1:15000",
    readiness: ":15021",
    metrics: ":15020",
    inbound: {},
    log: { access: "off" },
  };
  await mesh.uproxy({
    name: "shop",
    address: server.address,
    prefix: server.prefix,
    config: { ...quiet, outbound: {} },
  });
  await mesh.uproxy({
    name: "client",
    address: host.address,
    prefix: [...host.prefix, ...proxyGroup.prefix],
    config: {
      ...quiet,
      outbound: {
        listeners: [
          { listen: "127.0.0.1:9080", to: "shop:80" },
          { listen: "127.0.0.1:9201", to: `shop:${BULK}` },
        ],
        transparent: `:${CAPTURED}`,
      },
      capture: { exempt: { user: process.getuid?.() ?? 0 } },
    },
  });

  const script = ["--app", appGroup.path, "--proxy", proxyGroup.path, "--name", host.name];
  const ways = (on: Host): Way[] => {
    const [first = "", ...rest] = on.prefix;
    const inside = (...args: readonly string[]): Promise<string> => succeed(first, [...rest, ...args]);
    const nft = (...args: readonly string[]): Promise<string> => inside(command("nft"), ...args);
    return [
      { name: "explicit", to: "127.0.0.1", on: () => Promise.resolve(), off: () => Promise.resolve() },
      {
        name: "nft",
        to: VIP,
        async on() {
          await inside(command("ip"), "route", "replace", `${VIP}/32`, "dev", "eth0");
          await nft("add table ip capture");
          await nft("add chain ip capture out { type nat hook output priority -100; }");
          await nft(`add rule ip capture out ip daddr ${VIP} tcp dport 1-65535 redirect to :${CAPTURED}`);
        },
        async off() {
          await nft("delete table ip capture");
          await inside(command("ip"), "route", "delete", `${VIP}/32`);
        },
      },
      {
        name: "bpf",
        to: VIP,
        on: () => succeed(SCRIPT, ["apply", ...script]),
        off: () => succeed(SCRIPT, ["remove", ...script]),
      },
    ];
  };
  const prefix = (on: Host): readonly string[] => [...on.prefix, ...appGroup.prefix];
  for (let round = 1; round <= ROUNDS; round++) {
    process.stderr.write(`round ${round}/${ROUNDS}\n`);
    await alone(ways(bare), bare, prefix(bare), mesh.folder);
    await pair(ways(host), prefix(host));
  }
}

const mesh = await startMesh();
try {
  await main(mesh);
  const [row] = figures.values();
  const names = [...(row ?? new Map<string, number[]>()).keys()];
  process.stdout.write(`${"".padEnd(18)}${names.map((name) => name.padStart(13)).join("")}\n`);
  for (const [name, own] of figures) {
    const cells = names.map((figure) => {
      const value = median(own.get(figure) ?? []);
      return (value < 100 ? value.toFixed(2) : value.toFixed(0)).padStart(13);
    });
    process.stdout.write(`${name.padEnd(18)}${cells.join("")}\n`);
  }
} finally {
  await mesh.stop();
}
