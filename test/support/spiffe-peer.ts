// Machine. The program that stands on the other side of Culvert with go-spiffe in it (`test/tools/spiffe-peer`): a SPIFFE Workload API whose
// agent does what the test says, and an HBONE peer. `.ci/run` builds it.
import { connect } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { command } from "./env.ts";
import { run, startProgram, type Program, type Result } from "./process.ts";
import { within } from "./until.ts";

/** The command, for `needs`. */
export const SPIFFE_PEER = "spiffe-peer";

/** How one endpoint of the Workload API stands. */
export interface EndpointStatus {
  readonly streams: number;
  readonly calls: number;
  /** Calls without the header that the standard wants. */
  readonly bare: number;
  readonly rotations: number;
}

/** What an endpoint can be told. */
type Verb = "start" | "stop" | "deny" | "grant" | "error" | "federate" | "forget";

/** A Workload API with an endpoint for each workload. Make it with `startAgent`. */
export class Agent {
  readonly program: Program;
  readonly #control: string;

  constructor(program: Program, control: string) {
    this.program = program;
    this.#control = control;
  }

  /** Tells the endpoint at `socket` what to do. */
  async tell(verb: Verb, socket: string, ...words: readonly string[]): Promise<void> {
    await this.#ask([verb, socket, ...words].join(" "));
  }

  /** New certificates for everybody, every so often. */
  async rotateEvery(period: string): Promise<void> {
    await this.#ask(`every ${period}`);
  }

  /** One step from a trust domain's root to another: both are trusted, the new one signs, the old one is trusted no longer. */
  async root(step: "add" | "activate" | "remove", domain: string): Promise<void> {
    await this.#ask(`root ${step} ${domain}`);
  }

  async status(socket: string): Promise<EndpointStatus> {
    return (await this.#ask(`status ${socket}`)) as unknown as EndpointStatus;
  }

  async #ask(line: string): Promise<Readonly<Record<string, unknown>>> {
    const socket = connect(this.#control);
    socket.write(`${line}\n`);
    const answer = JSON.parse(await within(`an answer to ${line}`, textOf(socket))) as Readonly<
      Record<string, unknown>
    >;
    if (answer["error"] !== undefined) throw new Error(`${line}: ${JSON.stringify(answer["error"])}`);
    return answer;
  }
}

/** Starts one. `workloads` is each endpoint's socket with the SVIDs that it gives: `ID` or `ID#HINT`. */
export async function startAgent(
  control: string,
  workloads: Readonly<Record<string, readonly string[]>>,
): Promise<Agent> {
  const args = Object.entries(workloads).flatMap(([socket, ids]) => ["-workload", `${socket}=${ids.join(",")}`]);
  const program = startProgram({
    name: "Workload API",
    command: command(SPIFFE_PEER),
    args: ["api", "-control", control, ...args],
  });
  await program.line(/ready/);
  return new Agent(program, control);
}

/** Where go-spiffe has its identity from, and whom it expects. */
export interface PeerOptions {
  /** Folder with `svid.pem`, `key.pem`, `bundle.pem`. */
  readonly identity?: string;
  /** Or the socket of a Workload API. */
  readonly socket?: string;
  readonly authorize: string;
}

function flagsOf({ identity, socket, authorize }: PeerOptions): string[] {
  const source = socket === undefined ? ["-identity", identity ?? ""] : ["-socket", socket];
  return [...source, "-authorize", authorize];
}

/** Starts an HBONE server that echoes. */
export async function startSpiffeServer(listen: string, options: PeerOptions): Promise<Program> {
  const args = ["serve", "-listen", listen, ...flagsOf(options)];
  const program = startProgram({ name: "go-spiffe server", command: command(SPIFFE_PEER), args });
  await program.line(/ready/);
  return program;
}

/** Makes one HBONE call, which sends `text`. */
export function spiffeCall(to: string, authority: string, text: string, options: PeerOptions): Promise<Result> {
  const args = ["call", "-to", to, "-authority", authority, "-text", text, ...flagsOf(options)];
  return run(command(SPIFFE_PEER), args);
}
