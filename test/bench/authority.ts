// Machine. `pnpm bench authority [--short]`: how many certificates a second the authority signs, on sessions that stay and on one for
// each, what one costs it of a processor, and what it holds after 10,000 identities were issued.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatJoinToken } from "@culvert/authority/proof/join-token.ts";
import { TokenStore } from "@culvert/authority/state/token-store.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import {
  askCertificate,
  initAuthority,
  joinAs,
  newRequest,
  sessionOf,
  startAuthority,
  type RunningAuthority,
} from "../support/authority.ts";
import { grpcSession } from "../support/grpc.ts";
import { must } from "../support/must.ts";
import { cpuMs, memory } from "../support/proc.ts";
import { observe } from "../support/until.ts";

/** Fewer than the calls at once of one account that are let through. */
const PER_ACCOUNT = 200;
const SESSIONS = 8;
/** Calls under way on each session. */
const DEPTH = 4;
/** Memory is given back after five seconds of quiet. */
const SETTLE_MS = 8_000;

/** What one load came to. */
interface Load {
  readonly perSecond: number;
  /** CPU of the authority for one certificate, milliseconds. */
  readonly cpuMs: number;
}

/** Runs the bench and prints what it found. */
export async function benchAuthority(short: boolean): Promise<void> {
  const issued = short ? 1_000 : 10_000;
  const cold = short ? 200 : 1_000;
  const folder = mkdtempSync(join(tmpdir(), "culvert-bench-authority-"));
  let authority: RunningAuthority | undefined;
  try {
    const ca = await initAuthority(folder);
    const tokens = await tokensOf(ca, Math.ceil((issued + cold + 1) / PER_ACCOUNT) + 1);
    authority = await startAuthority(folder, ca);
    const { pid } = authority.program;
    await joinAs(authority, tokens[0] ?? "");
    const before = memory(pid);
    const warm = await load(authority, tokens, issued);
    await observe(SETTLE_MS);
    const after = memory(pid);
    const fresh = await eachOnItsOwn(authority, tokens.toReversed(), cold);
    const watching = await watchers(authority, tokens[0] ?? "", short ? 100 : 500);
    const lines = [
      `Node ${process.version}`,
      `${issued} certificates, ${SESSIONS} sessions with ${DEPTH} calls each: ${text(warm)}`,
      `${cold} certificates, a session for each: ${text(fresh)}`,
      `RssAnon ${before.anon.toFixed(1)} MiB after the first certificate, ${after.anon.toFixed(1)} MiB after ${issued} identities`,
      `each idle session with a certificate: RssAnon ${watching.toFixed(1)} KiB`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  } finally {
    await authority?.program.stop();
    rmSync(folder, { recursive: true });
  }
}

function text({ perSecond, cpuMs: cpu }: Load): string {
  return `${perSecond.toFixed(0)}/s, ${cpu.toFixed(2)} ms of CPU each`;
}

/** A reusable token for each of so many accounts. */
async function tokensOf(ca: string, count: number): Promise<readonly string[]> {
  const store = new TokenStore(ca);
  const createdAt = systemClock.now();
  const made: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const spec = { namespace: "default", serviceAccount: `a${index}`, createdAt, expiresAt: createdAt + 3_600_000 };
    made.push(formatJoinToken(must(await store.create({ ...spec, uses: undefined }))));
  }
  return made;
}

async function measured({ program }: RunningAuthority, count: number, work: () => Promise<void>): Promise<Load> {
  const cpuBefore = cpuMs([program.pid]);
  const startedMs = systemClock.monotonic();
  await work();
  const tookMs = systemClock.monotonic() - startedMs;
  return { perSecond: (count * 1_000) / tookMs, cpuMs: (cpuMs([program.pid]) - cpuBefore) / count };
}

async function load(authority: RunningAuthority, tokens: readonly string[], count: number): Promise<Load> {
  const { csr } = await newRequest();
  const { port, root } = authority;
  const sessions = await Promise.all(Array.from({ length: SESSIONS }, () => grpcSession({ port, ca: root })));
  let next = 0;
  const worker = async (session: (typeof sessions)[number]): Promise<void> => {
    while (next < count) {
      const token = tokens[Math.floor(next / PER_ACCOUNT)] ?? "";
      next += 1;
      const { answer } = await askCertificate(session, csr, { token });
      if (answer.status !== 0) throw new Error(`status ${answer.status}: ${answer.message}`);
    }
  };
  const result = await measured(authority, count, async () => {
    await Promise.all(sessions.flatMap((session) => Array.from({ length: DEPTH }, () => worker(session))));
  });
  for (const session of sessions) session.close();
  return result;
}

async function eachOnItsOwn(authority: RunningAuthority, tokens: readonly string[], count: number): Promise<Load> {
  const { csr } = await newRequest();
  const { port, root } = authority;
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const token = tokens[Math.floor(next / PER_ACCOUNT)] ?? "";
      next += 1;
      const session = await grpcSession({ port, ca: root });
      const { answer } = await askCertificate(session, csr, { token });
      session.close();
      if (answer.status !== 0) throw new Error(`status ${answer.status}: ${answer.message}`);
    }
  };
  return measured(authority, count, async () => void (await Promise.all(Array.from({ length: SESSIONS }, worker))));
}

/** KiB of the authority for each session by a certificate that stays. */
async function watchers(authority: RunningAuthority, token: string, count: number): Promise<number> {
  const holder = await joinAs(authority, token);
  await observe(SETTLE_MS);
  const before = memory(authority.program.pid);
  const sessions = [];
  for (let index = 0; index < count; index += 1) sessions.push(await sessionOf(authority, holder));
  await observe(SETTLE_MS);
  const after = memory(authority.program.pid);
  for (const session of sessions) session.close();
  return ((after.anon - before.anon) * 1024) / count;
}
