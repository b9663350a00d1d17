// Machine. `pnpm bench handshakes`: full mutual handshakes with a tunnel listener, by key group, and what the refusal of each bad
// certificate costs. The listener is this process; its callers are another, so that each end's CPU is told apart.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { connect, createSecureContext, type ConnectionOptions } from "node:tls";
import { promisify } from "node:util";
import { systemClock as clock } from "@culvert/shared/net/clock.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "@culvert/shared/tunnel/limits.ts";
import { listenTunnels } from "@culvert/shared/tunnel/server.ts";
import { badCertificates } from "../support/bad-certificates.ts";
import { mintSvid, svidName, testAuthority } from "../support/ca.ts";
import { identityOf, must, staticSource } from "../support/identity.ts";

/** Handshakes under way at once: enough to keep the listener busy, few enough that none waits for long. */
const AT_ONCE = 16;
const WARM_UP = 300;
/** What is promised for any certificate that is refused, milliseconds of CPU. */
const REFUSAL_BOUND_MS = 50;
const GROUPS = ["X25519MLKEM768", "X25519", "P-256"] as const;

/** What the callers are told: certificate, key and roots as PEM. */
interface Caller {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** One measurement. */
interface Figures {
  readonly perSecond: number;
  /** Milliseconds of CPU for one handshake, at each end. */
  readonly listenerMs: number;
  readonly callerMs: number;
}

const run = promisify(execFile);

/** Measures and prints. */
export async function benchHandshakes(isShort: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-handshakes-"));
  const ours = await testAuthority("ours.test");
  const theirs = await testAuthority("theirs.test");
  const own = await mintSvid(ours, svidName(ours, "default", "listener"));
  const honest = await mintSvid(ours, svidName(ours, "default", "caller"));
  const server = must(
    await listenTunnels({
      host: "127.0.0.1",
      port: 0,
      identity: staticSource(identityOf(own, [ours, theirs])),
      limits,
      clock,
      onRequest: (request) => void request.accept(),
      onEvent: () => undefined,
    }),
  );
  const measure = async (chainPem: string, keyPem: string, group: string, count: number): Promise<Figures> => {
    const file = join(folder, "caller.json");
    const caller: Caller = { cert: chainPem, key: keyPem, ca: ours.bundlePem };
    writeFileSync(file, JSON.stringify(caller), { mode: 0o600 });
    const call = async (times: number): Promise<{ cpuMs: number; wallMs: number }> => {
      const args = [import.meta.filename, file, String(server.address.port), group, String(times)];
      const { stdout } = await run(process.execPath, args);
      return JSON.parse(stdout) as { cpuMs: number; wallMs: number };
    };
    await call(Math.min(count, WARM_UP));
    const before = process.cpuUsage();
    const { cpuMs, wallMs } = await call(count);
    const { user, system } = process.cpuUsage(before);
    return {
      perSecond: (count / wallMs) * 1_000,
      listenerMs: (user + system) / 1_000 / count,
      callerMs: cpuMs / count,
    };
  };
  try {
    const count = isShort ? 500 : 5_000;
    process.stdout.write(
      `Node ${process.version}, certificates of P-256, chains of two, ${count} full mutual handshakes each\n\n`,
    );
    process.stdout.write("key group         handshakes/s   CPU of the listener   CPU of the caller\n");
    for (const group of GROUPS) {
      const { perSecond, listenerMs, callerMs } = await measure(honest.chainPem, honest.keyPem, group, count);
      process.stdout.write(
        `${group.padEnd(16)} ${perSecond.toFixed(0).padStart(13)} ${`${listenerMs.toFixed(2)} ms`.padStart(21)} ${`${callerMs.toFixed(2)} ms`.padStart(19)}\n`,
      );
    }
    const refusals = isShort ? 20 : 100;
    process.stdout.write(
      `\nrefused certificate                              CPU of the listener (mean of ${refusals})\n`,
    );
    for (const { what, chainPem, keyPem } of await badCertificates(ours, theirs, "caller")) {
      const { listenerMs } = await measure(chainPem, keyPem, GROUPS[0], refusals);
      const verdict = listenerMs < REFUSAL_BOUND_MS ? "" : `  over the ${REFUSAL_BOUND_MS} ms that are promised`;
      process.stdout.write(`${what.padEnd(46)} ${`${listenerMs.toFixed(2)} ms`.padStart(21)}${verdict}\n`);
      if (verdict !== "") process.exitCode = 1;
    }
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The other process: so many handshakes, each ended as soon as the listener has spoken or hung up. */
async function callOften(file: string, port: number, group: string, count: number): Promise<void> {
  const { cert, key, ca } = JSON.parse(readFileSync(file, "utf8")) as Caller;
  const secureContext = createSecureContext({
    cert,
    key,
    ca,
    minVersion: "TLSv1.3",
    ecdhCurve: group,
    ciphers: "DEFAULT:@SECLEVEL=0",
  });
  const options: ConnectionOptions = {
    host: "127.0.0.1",
    port,
    secureContext,
    ALPNProtocols: ["h2"],
    servername: "",
    checkServerIdentity: () => undefined,
  };
  let left = count;
  const begun = { cpu: process.cpuUsage(), at: clock.monotonic() };
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await new Promise<void>((resolve) => {
        const socket = connect(options);
        socket.on("error", () => {});
        socket.once("data", () => socket.destroy()).once("close", () => resolve());
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  const { user, system } = process.cpuUsage(begun.cpu);
  const figures = { cpuMs: (user + system) / 1_000, wallMs: clock.monotonic() - begun.at };
  process.stdout.write(JSON.stringify(figures));
}

const [file, port, group, count] = process.argv.slice(2);
if (process.argv[1] === import.meta.filename && file !== undefined && group !== undefined) {
  await callOften(file, Number(port), group, Number(count));
}
