// Machine. `pnpm bench tenants [--short]`: what one tenant of a shared waypoint gets while another one floods it, as a share of what it gets
// when it is alone: of a load that it can bear, and of all that it can get.
import { request, type ClientRequest } from "node:http";
import { command } from "../support/env.ts";
import { cpuMs } from "../support/proc.ts";
import { startProgram } from "../support/process.ts";
import { startTenants, TENANT_PORTS, type TwoTenants } from "../support/two-tenants.ts";
import { until } from "../support/until.ts";
import { atRate, saturate } from "./load.ts";

const RATE = 200;
/** Of the tenant that is measured, where it takes all that it gets. */
const CONNECTIONS = 16;
/** Of the tenant that floods. */
const FLOODING = 64;
const LIMITS = { requests: 2_000 };
const HANGING = 300;

type Path = readonly [to: keyof typeof TENANT_PORTS, path: string];

/** What is told of one flood. */
interface Figures {
  readonly what: string;
  /** Requests answered in time, of those that were asked. */
  readonly served: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the waypoint, percent of one core, at that rate. */
  readonly processor: number;
  readonly perSecond: number;
}

/** Runs the bench and prints what it found. */
export async function benchTenants(isShort: boolean): Promise<void> {
  const seconds = isShort ? 4 : 15;
  const tenants = await startTenants({ tenants: LIMITS, log: { level: "warn", access: "off" } }, HANGING);
  try {
    await measure(tenants, "warming up", 2);
    const quiet = await measure(tenants, "alone", seconds);
    const floods = [
      await beside(tenants, `${LIMITS.requests / 2} requests that are not answered`, seconds, hold),
      await beside(tenants, `${FLOODING} connections that are refused (429) as fast as they ask`, seconds, async () => {
        const letGo = await hold(tenants);
        return both(letGo, flood(tenants));
      }),
      await beside(tenants, "dials that hang", seconds, hang),
      await beside(tenants, `${FLOODING} connections that are served as fast as they ask`, seconds, () =>
        Promise.resolve(flood(tenants)),
      ),
    ];
    process.stdout.write(`${[quiet, ...floods].map((figures) => line(figures, quiet, seconds)).join("\n")}\n`);
  } finally {
    await tenants.mesh.stop();
  }
}

function line({ what, served, p50Ms, p99Ms, processor, perSecond }: Figures, quiet: Figures, seconds: number): string {
  return (
    `${what}: at ${RATE}/s ${share(served, RATE * seconds)} are served (p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, ` +
    `waypoint ${processor.toFixed(0)} % of a core); with ${CONNECTIONS} in flight ${perSecond.toFixed(0)}/s, ` +
    `${share(perSecond, quiet.perSecond)} of those when alone`
  );
}

function share(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(0)} %`;
}

async function measure({ quiet, waypoint }: TwoTenants, what: string, seconds: number): Promise<Figures> {
  const address = { host: quiet.address, port: TENANT_PORTS.app };
  const before = cpuMs([waypoint.program.pid]);
  const { requests, p50Ms, p99Ms } = await atRate(address, RATE, seconds);
  const processor = (cpuMs([waypoint.program.pid]) - before) / (10 * seconds);
  const { perSecond } = await saturate(address, { connections: CONNECTIONS, seconds });
  return { what, served: requests, p50Ms, p99Ms, processor, perSecond };
}

/** Measures while a flood lasts. */
async function beside(
  tenants: TwoTenants,
  what: string,
  seconds: number,
  begin: (tenants: TwoTenants) => Promise<() => Promise<unknown>>,
): Promise<Figures> {
  const end = await begin(tenants);
  const figures = await measure(tenants, what, seconds);
  await end();
  await until("the flood to be gone", async () => (await used(tenants, "requests")) === 0);
  return figures;
}

/** All that the noisy tenant may have in flight, and nobody answers. */
async function hold(tenants: TwoTenants): Promise<() => Promise<unknown>> {
  const most = LIMITS.requests / 2;
  const stop = ask(tenants, ["app", "/hold"], most);
  await until("the requests", () => tenants.held.size === most);
  return stop;
}

async function hang(tenants: TwoTenants): Promise<() => Promise<unknown>> {
  const stop = ask(tenants, ["hang", "/"], LIMITS.requests / 2);
  await until("the dials", async () => (await used(tenants, "dials")) > 100);
  return stop;
}

function ask({ noisy, letGo }: TwoTenants, [to, path]: Path, count: number): () => Promise<unknown> {
  const asked = Array.from({ length: count }, (): ClientRequest => {
    const options = { host: noisy.address, port: TENANT_PORTS[to], path };
    return request(options, (response) => void response.resume())
      .on("error", () => {})
      .end();
  });
  return () => {
    letGo();
    for (const { socket } of asked) if (socket?.writableEnded === false) socket.resetAndDestroy();
    return Promise.resolve();
  };
}

/** As many requests as go, until it is stopped. */
function flood({ noisy }: TwoTenants): () => Promise<unknown> {
  const url = `http://${noisy.address}:${TENANT_PORTS.app}/`;
  const args = ["--threads=1", `--connections=${FLOODING}`, "--duration=600s", url];
  const program = startProgram({ name: "wrk", command: command("wrk"), args, stopSignal: "SIGKILL" });
  return () => program.stop();
}

function both(one: () => Promise<unknown>, other: () => Promise<unknown>): () => Promise<unknown> {
  return () => Promise.all([one(), other()]);
}

function used({ metric }: TwoTenants, what: string): Promise<number> {
  return metric(`culvert_tenant_${what}{tenant="noisy"}`);
}
