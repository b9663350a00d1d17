// Machine. The programs of the demo: started as anybody would start them, their output kept in files, all ended with it.
import { spawn, type ChildProcess, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { get } from "node:http";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

/** How long a program may take to become ready, in milliseconds. */
const READY_DEADLINE_MS = 20_000;

/** Child processes by name. */
export class Programs {
  readonly #logFolder: string;
  readonly #running = new Map<string, ChildProcess>();

  constructor(logFolder: string) {
    this.#logFolder = logFolder;
  }

  /** Where the output of a program goes. */
  logOf(name: string): string {
    return `${this.#logFolder}/${name}.log`;
  }

  /** Starts `node script …arguments`; its output goes to `logOf(name)`. */
  start(name: string, script: string, args: readonly string[]): void {
    const child = spawnNode(script, args, this.#logFolder);
    const log = createWriteStream(this.logOf(name));
    for (const output of [child.stdout, child.stderr]) {
      output.on("data", (chunk: Buffer) => log.write(chunk));
    }
    child.on("exit", () => this.#running.delete(name));
    this.#running.set(name, child);
  }

  /** Waits until `url` answers 200; fails with the program's last words if it ends or takes too long. */
  async ready(name: string, url: string): Promise<void> {
    const deadline = performance.now() + READY_DEADLINE_MS;
    while (!(await answers(url))) {
      if (!this.#running.has(name) || performance.now() > deadline) {
        const words = await readFile(this.logOf(name), "utf8");
        throw new Error(`${name} did not become ready:\n${words.trim().split("\n").slice(-5).join("\n")}`);
      }
      await delay(50);
    }
  }

  /** Ends one program in order and waits for it. */
  async stop(name: string): Promise<void> {
    const child = this.#running.get(name);
    if (child === undefined) return;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  }

  /** Ends everything: in order first, at once after a second. */
  async stopAll(): Promise<void> {
    const children = [...this.#running.values()];
    const ended = Promise.all(children.map((child) => once(child, "exit")));
    for (const child of children) child.kill("SIGTERM");
    const inTime = await Promise.race([ended.then(() => true), delay(1_000, false, { ref: false })]);
    if (inTime) return;
    for (const child of children) child.kill("SIGKILL");
    await ended;
  }
}

function spawnNode(
  script: string,
  args: readonly string[],
  cwd: string,
): ChildProcessByStdio<null, Readable, Readable> {
  return spawn(process.execPath, ["--disable-warning=ExperimentalWarning", script, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    cwd,
  });
}

function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get(url, { timeout: 1_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(false));
  });
}

/** Runs a command to its end; its standard output, or an error with what it said. */
export async function run(script: string, args: readonly string[]): Promise<string> {
  const child = spawnNode(script, args, process.cwd());
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${script} ${args.join(" ")} ended with ${code}: ${output.trim()}`);
  return output;
}
