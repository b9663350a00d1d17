// Machine. A mesh whose workloads have hosts of their own (see `netns.ts`): apps, uproxies with the ports that they have when nothing is
// said, and commands on each host. Needs root, and `ip` and `curl`.
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import type { Echoed } from "./apps.ts";
import { command } from "./env.ts";
import { PORTS, startMesh, type Mesh, type Proxy, type ProxyOptions } from "./mesh.ts";
import { createNetwork, type Host, type Network } from "./netns.ts";
import { run, startProgram, succeed, type Program, type Result } from "./process.ts";
import { commandLine } from "./programs.ts";

/** The ports and addresses that a uproxy has when nothing is said: all interfaces, and loopback for admin and proxy. */
const USUAL: Readonly<Record<string, unknown>> = Object.fromEntries(
  ["workload", "inbound", "outbound", "admin", "readiness", "metrics"].map((key) => [key, undefined]),
);

/** A mesh on hosts. Make it with `startLab`. */
export class Lab {
  readonly mesh: Mesh;
  readonly network: Network;

  constructor(mesh: Mesh, network: Network) {
    this.mesh = mesh;
    this.network = network;
  }

  host(): Promise<Host> {
    return this.network.host();
  }

  /** Runs a command on a host to its end, whatever that is. */
  on(host: Host, ...words: readonly string[]): Promise<Result> {
    const [first, ...rest] = onHost(host, words);
    return run(first, rest);
  }

  /** What a command on a host writes; it must succeed. */
  done(host: Host, ...words: readonly string[]): Promise<string> {
    const [first, ...rest] = onHost(host, words);
    return succeed(first, rest);
  }

  curl(host: Host, ...args: readonly string[]): Promise<Result> {
    return this.on(host, "curl", "--silent", "--show-error", "--globoff", "--max-time", "10", ...args);
  }

  /** Starts a program on a host and waits for a line of its output; it ends with the lab. */
  async start(name: string, host: Host, line: RegExp, ...words: readonly string[]): Promise<Program> {
    const [first, ...rest] = onHost(host, words);
    const program = startProgram({ name: `${name} on ${host.name}`, command: first, args: rest });
    this.mesh.atEnd(() => program.stop());
    await program.line(line);
    return program;
  }

  /** Starts an app of one of the kinds of `app-process.ts` at an address of a host, on one port or several (`8080,8081`). */
  app(
    kind: "http" | "echo" | "smtp",
    host: Host,
    port: number | string,
    address: string = host.address,
  ): Promise<Program> {
    const script = join(import.meta.dirname, "app-process.ts");
    return this.start(kind, host, /^ready$/, process.execPath, script, kind, address, String(port));
  }

  /** Starts a uproxy on a host, with keys of configuration over what it has when nothing is said. */
  uproxy(
    name: string,
    host: Host,
    config: Readonly<Record<string, unknown>> = {},
    options: Partial<ProxyOptions> = {},
  ): Promise<Proxy> {
    const { address, prefix } = host;
    return this.mesh.uproxy({ name, address, prefix, ...options, config: { ...USUAL, ...config } });
  }

  /** Starts an instance of a waypoint on a host, with the ports that it has when nothing is said, or others on the same addresses. */
  waypoint(name: string, host: Host, gateway: string, options: Partial<ProxyOptions> = {}): Promise<Proxy> {
    const { address, prefix } = host;
    const { ports = PORTS, config } = options;
    const own = {
      hbone: `:${ports.hbone}`,
      admin: `127.0.0.1:${ports.admin}`,
      readiness: `:${ports.readiness}`,
      metrics: `:${ports.metrics}`,
    };
    return this.mesh.waypoint({ name, address, prefix, gateway, ...options, config: { ...own, ...config } });
  }

  /** `uproxy capture` on a host, with the configuration of the uproxy of that name. */
  async capture(
    host: Host,
    action: "apply" | "remove",
    name: string,
    backend: "nft" | "iptables" = "nft",
  ): Promise<void> {
    const file = join(this.mesh.folder, `${name}.yaml`);
    const line = commandLine("uproxy", ["capture", action, "--backend", backend, "--config", file]);
    await this.done(host, line.command, ...line.args);
  }

  stop(): Promise<void> {
    return this.mesh.stop();
  }
}

/** An empty mesh on an empty network. */
export async function startLab(): Promise<Lab> {
  const mesh = await startMesh();
  try {
    const network = await createNetwork();
    mesh.atEnd(() => network.remove());
    return new Lab(mesh, network);
  } catch (error) {
    await mesh.stop();
    throw error;
  }
}

/** What the HTTP app of `app-process.ts` told curl of a request. */
export function echoed({ stdout, stderr }: Pick<Result, "stdout" | "stderr">): Echoed {
  assert.notEqual(stdout, "", stderr);
  return JSON.parse(stdout) as Echoed;
}

/** What curl ends with after a reset: before it has seen that it is connected, before it has sent its request, and after. */
const RESETS: ReadonlySet<number | null> = new Set([7, 55, 56]);

/** A reset. */
export function assertReset({ code, stderr }: Result): void {
  assert.ok(RESETS.has(code), `curl ended with ${code}: ${stderr}`);
}

/** A command line for a host; its first word may be the name of a tool. */
function onHost({ prefix }: Host, [tool = "", ...args]: readonly string[]): [string, ...string[]] {
  const [first = "", ...rest] = [...prefix, tool.startsWith("/") ? tool : command(tool), ...args];
  return [first, ...rest];
}
