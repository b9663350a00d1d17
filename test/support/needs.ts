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

/** What of it the machine does not have, in words. */
export function missing({ root = false, commands = [] }: Omit<Needs, "bpf">): string[] {
  const absent = commands.filter((name) => findCommand(name) === undefined).map((name) => `the command ${name}`);
  return root && !isRoot() ? ["root (network namespaces)", ...absent] : absent;
}

/**
 * Options for `test` or `describe`: `test("…", needs({ commands: ["psql"] }), …)`.
 * Throws, which fails the file, when something is missing and skipping is not allowed.
 */
export function needs({ root = false, commands = [], bpf = false }: Needs): { skip: string | false } {
  const lacking = missing({ root, commands });
  if (lacking.length === 0) {
    const refusal = bpf ? bpfRefusal() : undefined;
    return { skip: refusal === undefined ? false : `the kernel refuses BPF: ${refusal}` };
  }
  const reason = `needs ${lacking.join(" and ")}; .ci/run installs what is missing`;
  if (strict()) throw new Error(`${reason}. CI or CULVERT_TEST_STRICT is set, so nothing may be skipped`);
  return { skip: reason };
}
