// Machine. `pnpm bench config-stream [--short]`: how long a change of a file takes to every client that it concerns, in meshes of several
// sizes; and what many clients that come back together cost an authority, in time and memory.
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { createToken, initAuthority, joinAs, sessionOf, startAuthority, type Holder } from "../support/authority.ts";
import type { RunningAuthority } from "../support/authority.ts";
import { ConfigTestClient } from "../support/config-client.ts";
import { cpuMs, memory } from "../support/proc.ts";
import { until } from "../support/until.ts";

const PER_FILE = 100;
/** Fewer than the sessions that one identity may hold. */
const PER_IDENTITY = 1_900;
/** Handshakes that this process has under way at once. */
const AT_ONCE = 32;
const MINUTES_MS = 600_000;

/** One connected client. */
interface Joined {
  readonly client: ConfigTestClient;
  readonly session: ClientHttp2Session;
}

/** Runs the bench and prints what it found. */
export async function benchConfigStream(short: boolean): Promise<void> {
  const sizes = short ? [10, 1_000] : [10, 1_000, 10_000, 100_000];
  process.stdout.write(`Node ${process.version}\n`);
  for (const size of sizes) await inMesh(size, short ? 100 : 1_000, short ? 5 : 20);
  await together(short ? 300 : 10_000);
}

/** Changes of one workload in a mesh of that size, as all clients see them. */
async function inMesh(size: number, clients: number, changes: number): Promise<void> {
  await withAuthority(size, 1, async (authority, holders, folder) => {
    const started = systemClock.monotonic();
    const joined = await joinAll(authority, holders, clients);
    const connecting = systemClock.monotonic() - started;
    const times: number[] = [];
    const before = cpuMs([authority.program.pid]);
    for (let change = 1; change <= changes; change += 1) {
      let sentAt = 0;
      const counts = joined.map(({ client }) => client.updates.length);
      for (const { client } of joined) client.onUpdate = () => times.push(systemClock.monotonic() - sentAt);
      sentAt = systemClock.monotonic();
      put(folder, 0, size, change);
      await until(
        "every client to have the change",
        () => joined.every(({ client }, index) => client.updates.length > (counts[index] ?? 0)),
        MINUTES_MS,
      );
    }
    const cpu = (cpuMs([authority.program.pid]) - before) / changes;
    const { anon } = memory(authority.program.pid);
    process.stdout.write(
      `${size} workloads, ${clients} clients (connected in ${(connecting / 1000).toFixed(1)} s): a change is there after ` +
        `p50 ${quantile(times, 0.5)} ms, p99 ${quantile(times, 0.99)} ms, costs ${cpu.toFixed(0)} ms of CPU; RssAnon ${anon.toFixed(0)} MiB\n`,
    );
    for (const { session } of joined) session.destroy();
  });
}

/** Clients that come at once, and come back at once with what they have. */
async function together(clients: number): Promise<void> {
  await withAuthority(1_000, Math.ceil(clients / PER_IDENTITY), async (authority, holders) => {
    const { pid } = authority.program;
    const fresh = systemClock.monotonic();
    const idleCpu = cpuMs([pid]);
    const joined = await joinAll(authority, holders, clients);
    const first = systemClock.monotonic() - fresh;
    const joiningCpu = (cpuMs([pid]) - idleCpu) / clients;
    const held = memory(pid);
    const have = joined[0]?.client.have() ?? new Map<string, string>();
    // One that stays must be served all the while.
    const [old, ...others] = joined;
    for (const { session } of others) session.destroy();
    const again = systemClock.monotonic();
    const back = await joinAll(authority, holders, clients - 1, have);
    const second = systemClock.monotonic() - again;
    const told = back.filter(({ client }) => (client.updates[0]?.set.size ?? 1) > 0).length;
    const isServed = old?.session.closed === false;
    process.stdout.write(
      `${clients} clients come together: all told after ${(first / 1000).toFixed(1)} s, ${joiningCpu.toFixed(1)} ms of the authority's CPU each, ` +
        `RssAnon ${held.anon.toFixed(0)} MiB; ` +
        `and come back: after ${(second / 1000).toFixed(1)} s, RssAnon ${memory(pid).anon.toFixed(0)} MiB, ` +
        `${told} of them told anything again, the one that stayed ${isServed ? "served" : "LOST"}\n`,
    );
    if (!isServed || told > 0) process.exitCode = 1;
    for (const { session } of [...back, ...joined]) session.destroy();
  });
}

async function joinAll(
  authority: RunningAuthority,
  holders: readonly Holder[],
  count: number,
  have: ReadonlyMap<string, string> = new Map(),
): Promise<readonly Joined[]> {
  const joined: Joined[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      const holder = holders[index % holders.length];
      if (holder === undefined) throw new Error("no identity");
      const session = await sessionOf(authority, holder);
      const client = new ConfigTestClient(session, { workload: "default/none", have }, ["host/s0"]);
      joined.push({ client, session });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  await until("everybody's first update", () => joined.every(({ client }) => client.updates.length > 0), MINUTES_MS);
  return joined;
}

async function withAuthority(
  size: number,
  identities: number,
  use: (authority: RunningAuthority, holders: readonly Holder[], folder: string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-bench-config-"));
  let authority: RunningAuthority | undefined;
  try {
    const mesh = join(folder, "mesh");
    mkdirSync(mesh);
    for (let file = 0; file * PER_FILE < size; file += 1) put(mesh, file, size, 0);
    const ca = await initAuthority(folder);
    const started = systemClock.monotonic();
    authority = await startAuthority(folder, ca, { resources: { files: mesh } }, MINUTES_MS);
    const took = systemClock.monotonic() - started;
    process.stdout.write(`${size} workloads: ready after ${(took / 1000).toFixed(1)} s\n`);
    const holders: Holder[] = [];
    for (let index = 0; index < identities; index += 1) {
      holders.push(await joinAs(authority, await createToken(ca, `a${index}`)));
    }
    await use(authority, holders, mesh);
  } finally {
    await authority?.program.stop();
    rmSync(folder, { recursive: true });
  }
}

/** One file: a Service and the workloads behind it, of which `weight` is the first one's. */
function put(mesh: string, file: number, size: number, weight: number): void {
  const documents = [
    `apiVersion: v1\nkind: Service\nmetadata: {name: s${file}}\nspec: {selector: {app: s${file}}, ports: [{port: 80}]}\n`,
  ];
  for (let index = file * PER_FILE; index < Math.min(size, (file + 1) * PER_FILE); index += 1) {
    const address = `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
    const own = index === file * PER_FILE ? `, weight: ${weight + 1}` : "";
    documents.push(
      `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w${index}}\nspec: {address: ${address}, labels: {app: s${file}}${own}}\n`,
    );
  }
  writeFileSync(join(mesh, `.${file}`), documents.join("---\n"));
  renameSync(join(mesh, `.${file}`), join(mesh, `${file}.yaml`));
}

function quantile(times: readonly number[], part: number): string {
  const sorted = times.toSorted((a, b) => a - b);
  return (sorted[Math.floor(part * (sorted.length - 1))] ?? 0).toFixed(0);
}
