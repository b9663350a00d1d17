// Machine. Child processes of a test: their output as lines, their end as a value, and nothing left behind.
import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import process from "node:process";
import type { Readable } from "node:stream";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { childEnvironment } from "./env.ts";
import { DEADLINE_MS, until, within } from "./until.ts";

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What to start. */
export interface ProgramOptions {
  /** For messages. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** What asks it to end; SIGTERM unless said otherwise. */
  readonly stopSignal?: NodeJS.Signals;
  /** Lines of each output that are kept; benches keep few. */
  readonly keep?: number;
}

const running = new Set<ChildProcess>();

/** After the end of a process and of its group, how long its output may still be held open by somebody who left the group. */
const OUTPUT_GRACE_MS = 5000;

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // The group is gone already.
  }
}

function killAll(): void {
  for (const child of running) killGroup(child);
}

process.on("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    killAll();
    process.kill(process.pid, signal);
  });
}

/** One child process. Make it with `startProgram`. */
export class Program {
  readonly name: string;
  /** Lines of standard output so far, oldest first. */
  readonly output: string[] = [];
  /** Lines of standard error so far. */
  readonly errors: string[] = [];
  /** Settles when the process has ended and its output has been read to the end. */
  readonly exited: Promise<Exit>;
  /** Whether the test has sent it a signal; a process that ends without one has ended by itself. */
  asked = false;
  #exit: Exit | undefined;
  readonly #child: ChildProcess;
  readonly #stopSignal: NodeJS.Signals;

  constructor({ name, command, args, cwd, env, stopSignal = "SIGTERM", keep = 100_000 }: ProgramOptions) {
    this.name = name;
    this.#stopSignal = stopSignal;
    // Each child leads a process group, so that its own children can be ended with it.
    const child = spawn(command, args, {
      cwd,
      env: childEnvironment(env),
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    this.#child = child;
    running.add(child);
    collect(child.stdout, this.output, keep);
    collect(child.stderr, this.errors, keep);
    this.exited = new Promise((resolve, reject) => {
      child.once("error", (error) => {
        running.delete(child);
        reject(new Error(`${name} could not be started`, { cause: error }));
      });
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        if (this.#exit !== undefined) return;
        running.delete(child);
        this.#exit = { code, signal };
        resolve(this.#exit);
      };
      child.once("close", end);
      child.once("exit", (code, signal) => {
        killGroup(child);
        systemClock.after(OUTPUT_GRACE_MS, () => end(code, signal));
      });
    });
    // A failure to start is reported by whoever waits; without a waiter it must not end the test process.
    this.exited.catch(() => {});
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error(`${this.name} could not be started`);
    return pid;
  }

  /** How it ended, `undefined` while it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** Waits for the first line of output (either stream) that matches, also among those that already came. */
  async line(match: RegExp, deadlineMs: number = DEADLINE_MS): Promise<string> {
    return this.watch(
      `a line like ${match}`,
      () => [...this.output, ...this.errors].find((line) => match.test(line)),
      deadlineMs,
    );
  }

  /** Waits for a condition; fails at once, with the output, when the process ends before it holds. */
  async watch<T>(
    what: string,
    condition: () => T | Promise<T>,
    deadlineMs: number = DEADLINE_MS,
  ): Promise<Exclude<T, undefined | false | null>> {
    const end = systemClock.monotonic() + deadlineMs;
    let ended = false;
    const result = await until(
      `${what} of ${this.name}`,
      async () => {
        ended = this.#exit !== undefined;
        const value = await Promise.resolve()
          .then(condition)
          .catch(() => undefined);
        if (value !== undefined && value !== false && value !== null) return { value };
        return ended || systemClock.monotonic() > end ? { value: undefined } : undefined;
      },
      deadlineMs + DEADLINE_MS,
    );
    if (result.value === undefined) throw new Error(this.describe(`${what} did not come`));
    return result.value as Exclude<T, undefined | false | null>;
  }

  signal(signal: NodeJS.Signals): void {
    this.asked = true;
    this.#child.kill(signal);
  }

  /** Asks it to end, insists after `graceMs` (SIGKILL), and tells how it ended. */
  async stop(graceMs: number = DEADLINE_MS): Promise<Exit> {
    if (this.#exit !== undefined) return this.#exit;
    this.signal(this.#stopSignal);
    try {
      return await within(`the end of ${this.name}`, this.exited, graceMs);
    } catch {
      return this.kill();
    }
  }

  /** Ends it and its children without asking. */
  async kill(): Promise<Exit> {
    if (this.#exit === undefined) killGroup(this.#child);
    return this.exited;
  }

  /** An error message with the last lines of the output. */
  describe(problem: string): string {
    const end = this.#exit === undefined ? "still runs" : `ended with ${this.#exit.code ?? this.#exit.signal}`;
    const tail = [...this.output.slice(-15), ...this.errors.slice(-15)].join("\n  ");
    return `${this.name}: ${problem} (it ${end})\n  ${tail}`;
  }
}

function collect(stream: Readable | null, lines: string[], keep: number): void {
  if (stream === null) return;
  stream.on("error", () => {});
  createInterface({ input: stream }).on("line", (line) => {
    if (lines.length >= keep) lines.shift();
    lines.push(line);
  });
}

/** Starts a process; it is killed when the test process ends, whatever happens. */
export function startProgram(options: ProgramOptions): Program {
  return new Program(options);
}

/** What a command printed, and how it ended. */
export interface Result extends Exit {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export async function run(
  command: string,
  args: readonly string[],
  options: Partial<ProgramOptions> & { deadlineMs?: number } = {},
): Promise<Result> {
  const program = startProgram({ ...options, name: options.name ?? command, command, args });
  try {
    const exit = await within(`the end of ${program.name}`, program.exited, options.deadlineMs ?? 60_000);
    return { ...exit, stdout: program.output.join("\n"), stderr: program.errors.join("\n") };
  } catch (error) {
    await program.kill().catch(() => {});
    throw error;
  }
}

/** Runs a command that must succeed and returns its output. */
export async function succeed(
  command: string,
  args: readonly string[],
  options: Partial<ProgramOptions> & { deadlineMs?: number } = {},
): Promise<string> {
  const result = await run(command, args, options);
  if (result.code === 0) return result.stdout;
  throw new Error(
    `${command} ${args.join(" ")} ended with ${result.code ?? result.signal}:\n${result.stdout}\n${result.stderr}`,
  );
}
