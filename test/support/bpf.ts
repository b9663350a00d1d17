// Machine. Whether the kernel of this machine lets root load BPF programs and attach them to control groups: containers, sandboxes and
// lockdown refuse it, whatever is installed.
import { spawnSync } from "node:child_process";
import { command } from "./env.ts";

/** What `deploy/ebpf` loads, by bpftool's names. */
const PROGRAM_TYPES = ["cgroup_sock_addr", "cgroup_sockopt", "sock_ops"];

/** The parts of bpftool's report that are asked for; each program type has really been tried. */
interface Probed {
  readonly error?: string;
  readonly program_types?: Readonly<Record<string, boolean>>;
}

/** Why BPF cannot be used here; `undefined` when it can. Needs root, and `bpftool`, `unshare` and `mount`. */
export function bpfRefusal(): string | undefined {
  const probed = spawnSync(command("bpftool"), ["-j", "feature", "probe", "kernel"], { encoding: "utf8" });
  const report = parsed(probed.stdout);
  if (report === undefined) return `bpftool cannot probe it: ${probed.stderr.trim()}`;
  if (report.error !== undefined) return report.error;
  const missing = PROGRAM_TYPES.filter((type) => report.program_types?.[`have_${type}_prog_type`] !== true);
  if (missing.length > 0) return `programs are refused: ${missing.join(", ")}`;
  // In a mount namespace of its own, so that nothing stays.
  const script = 'mount -t cgroup2 none /mnt && "$0" cgroup show /mnt';
  const groups = spawnSync(command("unshare"), ["--mount", "sh", "-c", script, command("bpftool")], {
    encoding: "utf8",
  });
  return groups.status === 0 ? undefined : `control groups are refused: ${groups.stderr.trim()}`;
}

function parsed(text: string): Probed | undefined {
  try {
    return JSON.parse(text) as Probed;
  } catch {
    return undefined;
  }
}
