// Machine. `pnpm bench architectures`: the same service in every architecture, hosts as network namespaces. What one request costs more than
// without a mesh: time where it waits alone, processor time of all proxies on the way, and the memory of each. Needs root, `ip` and `wrk`.
import process from "node:process";
import { SHOP_PORTS, startMatrixLab, type MatrixLab } from "../support/matrix/matrix-lab.ts";
import { ARCHITECTURES, type Architecture } from "../support/matrix/cells.ts";
import type { Host } from "../support/netns.ts";
import { cpuMs, memory } from "../support/proc.ts";
import { table } from "./report.ts";
import { median } from "./rounds.ts";

const WARM_UP_SECONDS = 2;

/** What is measured of one way in one round. */
type Figures = ReadonlyMap<string, number>;

/** Requests one after another, each of which waits alone. */
async function load(
  lab: MatrixLab,
  host: Host,
  url: string,
  seconds: number,
): Promise<{ count: number; p50Ms: number }> {
  const text = await lab.lab.done(host, "wrk", "-t1", "-c1", `-d${seconds}s`, "--latency", url);
  const [, number = "0", unit = "ms"] = /50%\s+([\d.]+)(us|ms|s)/.exec(text) ?? [];
  const [, count = "0"] = /(\d+) requests in/.exec(text) ?? [];
  if (/Non-2xx/.test(text) || Number(count) === 0) throw new Error(text);
  return { count: Number(count), p50Ms: Number(number) * (unit === "us" ? 0.001 : unit === "s" ? 1_000 : 1) };
}

/** One architecture, and in the same namespaces the way without any mesh. */
async function measure(architecture: Architecture, seconds: number): Promise<Figures> {
  const lab = await startMatrixLab(architecture, "files");
  try {
    const [shop, other] = lab.shops;
    if (shop === undefined || other === undefined) throw new Error("expected two shops");
    const url = `http://127.0.0.1:${20_000 + SHOP_PORTS.http}/`;
    await load(lab, lab.clientHost, url, WARM_UP_SECONDS);
    const waypoints = [...lab.instances, ...lab.elsewhere].map(({ proxy }) => proxy.program.pid);
    const uproxies = [lab.client, ...lab.shops.map(({ proxy }) => proxy)].map(({ program }) => program.pid);
    const before = cpuMs([...waypoints, ...uproxies]);
    const { count, p50Ms } = await load(lab, lab.clientHost, url, seconds);
    const cost = cpuMs([...waypoints, ...uproxies]) - before;
    // From a host that has no rules which would turn the connection.
    const plain = await load(lab, other.host, `http://${shop.host.address}:8080/`, seconds);
    const [waypoint] = lab.instances;
    const figures = new Map([
      ["p50", p50Ms],
      ["added", p50Ms - plain.p50Ms],
      ["cpu", cost / count],
      ["uproxy", memory(lab.client.program.pid).anon],
    ]);
    return waypoint === undefined ? figures : figures.set("waypoint", memory(waypoint.proxy.program.pid).anon);
  } finally {
    await lab.stop();
  }
}

/** Measures and prints. */
export async function benchArchitectures(isShort: boolean): Promise<void> {
  const [rounds, seconds] = isShort ? [1, 3] : [3, 10];
  const found = new Map<Architecture, Figures[]>();
  for (let round = 1; round <= rounds; round++) {
    for (const architecture of ARCHITECTURES) {
      process.stderr.write(`${architecture}, round ${round} of ${rounds}\n`);
      const figures = await measure(architecture, seconds);
      found.set(architecture, [...(found.get(architecture) ?? []), figures]);
    }
  }
  const results = new Map<string, Figures>(
    [...found].map(([architecture, all]) => {
      const names = new Set(all.flatMap((figures) => [...figures.keys()]));
      const middle = (name: string): number => median(all.flatMap((figures) => figures.get(name) ?? []));
      return [architecture, new Map([...names].map((name) => [name, middle(name)]))];
    }),
  );
  const columns = [
    { figure: "p50", heading: "p50 ms", decimals: 2 },
    { figure: "added", heading: "more than without", decimals: 2 },
    { figure: "cpu", heading: "CPU ms a request", decimals: 2 },
    { figure: "uproxy", heading: "uproxy MiB", decimals: 0 },
    { figure: "waypoint", heading: "waypoint MiB", decimals: 0 },
  ];
  const title = `One request after another, medians of ${rounds} rounds of ${seconds} s; memory is RssAnon after the load`;
  process.stdout.write(`\n${table(title, results, columns)}\n`);
}
