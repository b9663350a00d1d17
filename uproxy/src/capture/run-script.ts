// Machine. The one child process of uproxy: the shell that runs a script of `capture`, which nobody but `capture apply` and
// `capture remove` starts.
import { spawn } from "node:child_process";

/** How a script ended. */
export interface ScriptEnd {
  /** What it wrote, its errors included. */
  readonly output: string;
  /** A sentence; `undefined` when it did its work. */
  readonly problem: string | undefined;
}

/** Of what the programs write. */
const MAX_OUTPUT = 16 * 1024;

/** Runs a script by `sh`, which reads it from its standard input. */
export function runScript(script: string): Promise<ScriptEnd> {
  return new Promise((resolve) => {
    let output = "";
    const take = (chunk: Buffer): void => {
      if (output.length < MAX_OUTPUT) output += chunk.toString();
    };
    const child = spawn("sh", ["-s"], { stdio: ["pipe", "pipe", "pipe"] });
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    // A shell that ends early closes its input; how it ended says more.
    child.stdin.on("error", () => undefined);
    child.once("error", (error) => resolve({ output, problem: `sh cannot be started: ${error.message}` }));
    child.once("close", (code, signal) => {
      const problem = code === 0 ? undefined : `the rules were not changed: the script ended with ${code ?? signal}`;
      resolve({ output, problem });
    });
    child.stdin.end(script);
  });
}
