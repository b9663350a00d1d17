// Machine. `wait`: exits 0 once a program of this host is ready, for start-up order and health checks.
import { EXIT, wrongUsage, type Arguments, type Command, type Complaint } from "../config/cli.ts";
import { CONFIG_OPTION } from "../config/process/program-file.ts";
import { parseDuration } from "../config/units.ts";
import { isFailure } from "../failure/failure.ts";
import { pause, systemClock, type Clock } from "../net/clock.ts";
import { parseListenAddress, type ListenAddress } from "../net/listen-address.ts";

/** Reads the configuration that the arguments name, of which `wait` wants the readiness port alone. */
export type LoadReadiness = (args: Arguments) => Promise<{ readonly readiness: ListenAddress | undefined } | Complaint>;

/** How often it asks: often enough for start-up order, too rarely to be felt. */
const POLL_MS = 100;
const DEFAULT_PORT = 15021;

/** `wait` of the program of that name. */
export function waitCommand(program: string, load: LoadReadiness): Command {
  return {
    name: "wait",
    summary: `exits 0 once the ${program} on this host is ready, 1 when the timeout passes first`,
    options: [
      CONFIG_OPTION,
      { name: "address", value: "HOST:PORT", help: "readiness port; default: the configuration's, else :15021" },
      { name: "timeout", value: "DURATION", help: "how long to wait; default 60s" },
    ],
    run: async (args) => {
      const timeoutMs = parseDuration(args.text("timeout") ?? "60s");
      if (timeoutMs === undefined) return wrongUsage("--timeout: expected a duration such as 250ms, 10s or 5m");
      const address = await readinessAddress(load, args);
      if ("exit" in address) return address;
      const missing = await waitReady(address, timeoutMs, systemClock);
      return missing === undefined ? EXIT.done : { exit: EXIT.failed, message: missing };
    },
  };
}

async function readinessAddress(load: LoadReadiness, args: Arguments): Promise<ListenAddress | Complaint> {
  const given = args.text("address");
  if (given !== undefined) {
    return parseListenAddress(given) ?? wrongUsage(`--address: expected host:port, found ${JSON.stringify(given)}`);
  }
  // Beside a running proxy there may be no configuration at hand: the port is the same everywhere unless it was changed.
  const config = await load(args);
  if ("exit" in config)
    return args.text("config") === undefined ? { kind: "tcp", host: "", port: DEFAULT_PORT } : config;
  return config.readiness ?? wrongUsage("the readiness port is switched off in the configuration");
}

/** Asks until the port says ready; what was missing when the time was over. */
async function waitReady(address: ListenAddress, timeoutMs: number, clock: Clock): Promise<string | undefined> {
  const { httpGet } = await import("../observe/http-get.ts");
  const deadline = clock.monotonic() + timeoutMs;
  for (;;) {
    const answer = await httpGet(address, "/healthz/ready", 1_000);
    if (!isFailure(answer) && answer.status === 200) return undefined;
    if (clock.monotonic() >= deadline) {
      return `not ready after ${timeoutMs} ms: ${isFailure(answer) ? answer.detail : answer.body.trim()}`;
    }
    await pause(POLL_MS);
  }
}
