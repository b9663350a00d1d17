// Root. What a test needs from the machine. Without it the test is skipped and says why; where nothing may be skipped
// (CI) it fails, except for what no installation can give: a kernel that refuses.
import { bpfRefusal } from "./bpf.ts";
import { findCommand, isRoot, strict } from "./env.ts";

/** What a test asks for. */
export interface Needs {
  /** Network namespaces, or another user's process. */
  readonly root?: boolean;
  /** Commands by name, found in `.cache/bin`, `PATH` and Debian's folders. `.ci/run` installs all of them. */
  readonly commands?: readonly string[];
  /** A kernel that loads BPF programs; with `root` and the command `bpftool`. */
  readonly bpf?: boolean;
}

/**
 * Options for `test` or `describe`: `test("…", needs({ commands: ["psql"] }), …)`.
 * Throws, which fails the file, when something is missing and skipping is not allowed.
 */
export function needs({ root = false, commands = [], bpf = false }: Needs): { skip: string | false } {
  const missing: string[] = [];
  if (root && !isRoot()) missing.push("root (network namespaces)");
  for (const name of commands) if (findCommand(name) === undefined) missing.push(`the command ${name}`);
  if (missing.length === 0) {
    const refusal = bpf ? bpfRefusal() : undefined;
    return { skip: refusal === undefined ? false : `the kernel refuses BPF: ${refusal}` };
  }
  const reason = `needs ${missing.join(" and ")}; .ci/run installs what is missing`;
  if (strict()) throw new Error(`${reason}. CI or CULVERT_TEST_STRICT is set, so nothing may be skipped`);
  return { skip: reason };
}
