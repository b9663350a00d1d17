// Machine. A Debian system in a folder: a copy of `.cache/debian`, which .ci/run makes with debootstrap. Commands run in it by chroot, and
// where the kernel lets it, it boots: systemd in a container, with the network of a namespace that is there.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { command, REPOSITORY, strict } from "./env.ts";
import { needs, type Needs } from "./needs.ts";
import type { Host } from "./netns.ts";
import { run, startProgram, succeed, type Program, type Result } from "./process.ts";

const BASE = join(REPOSITORY, ".cache/debian");
const BUILD_MS = 120_000;
const BOOT_MS = 60_000;
/** As root's login has it: nothing of this machine's environment. */
const CLEAN = ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"];
/** Where systemd-nspawn leaves a folder behind on the host. */
const PROPAGATED = "/run/systemd/nspawn/propagate";

/** Options for a test that needs such a system, beside `more` commands. */
export function needsDebian(...more: readonly string[]): { skip: string | false } {
  const all: Needs = { root: true, commands: ["dpkg-deb", "strip", "chroot", ...more] };
  const { skip } = needs(all);
  if (skip !== false || existsSync(join(BASE, "usr/bin/dpkg"))) return { skip };
  const reason = `needs ${BASE}; .ci/run makes it with debootstrap`;
  if (strict()) throw new Error(reason);
  return { skip: reason };
}

/** Makes packages of these revisions, and the tarball, in a folder; the path of each package. */
export async function buildPackages(folder: string, revisions: readonly number[]): Promise<string[]> {
  const script = join(REPOSITORY, "deploy/package/linux/package.ts");
  const options = revisions.flatMap((revision) => ["--revision", String(revision)]);
  const args = ["--disable-warning=ExperimentalWarning", script, folder, "--fast", ...options];
  await succeed(process.execPath, args, { deadlineMs: BUILD_MS });
  return readdirSync(folder)
    .filter((name) => name.endsWith(".deb"))
    .toSorted()
    .map((name) => join(folder, name));
}

/** One system. Make it with `debianSystem`; `remove` ends what runs in it. */
export class DebianSystem {
  /** Its root folder. */
  readonly root: string;
  #machine: Program | undefined;
  #leader: number | undefined;

  constructor(root: string) {
    this.root = root;
  }

  /** A path of the host. */
  path(inside: string): string {
    return join(this.root, inside);
  }

  /** Puts a file into it, with folders of its own; `owner` is a user of the system. */
  write(inside: string, content: string | Buffer, owner?: string): void {
    const path = this.path(inside);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content, { mode: owner === undefined ? 0o644 : 0o600 });
    if (owner !== undefined) execFileSync(command("chroot"), [this.root, "chown", `${owner}:`, inside]);
  }

  /** The command line that runs `line` in the system: where systemd runs beside it, else by chroot. */
  line(line: readonly string[]): string[] {
    if (this.#leader === undefined) return [command("chroot"), this.root, ...CLEAN, ...line];
    const spaces = ["--mount", "--pid", "--net", "--uts", "--ipc"];
    return [command("nsenter"), "--target", String(this.#leader), ...spaces, "--", ...CLEAN, ...line];
  }

  /** Runs a command in it to its end. */
  run(...line: readonly string[]): Promise<Result> {
    const [first = "", ...rest] = this.line(line);
    return run(first, rest, { name: line.join(" "), deadlineMs: BUILD_MS });
  }

  /** Runs a command that must succeed; what it printed. */
  async done(...line: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...line);
    if (code !== 0) throw new Error(`${line.join(" ")} ended with ${code}:\n${stdout}\n${stderr}`);
    return stdout;
  }

  /** Installs a package, or the next version of it. */
  install(deb: string): Promise<string> {
    const inside = `/var/cache/apt/archives/${basename(deb)}`;
    this.write(inside, readFileSync(deb));
    return this.done("dpkg", "--install", inside);
  }

  /** Boots systemd in it, on the network of `host`. Undefined once it is up, else why this kernel does not let it. */
  async boot(host: Host): Promise<string | undefined> {
    const args = [
      "--boot",
      `--directory=${this.root}`,
      `--machine=${host.name}`,
      `--network-namespace-path=/run/netns/${host.name}`,
      "--capability=CAP_NET_ADMIN",
      "--register=no",
      "--keep-unit",
    ];
    this.#machine = startProgram({ name: `systemd of ${host.name}`, command: command("systemd-nspawn"), args });
    try {
      await this.#machine.watch("systemd", () => this.#isUp(), BOOT_MS);
    } catch (error) {
      this.#leader = undefined;
      return String(error);
    }
    return undefined;
  }

  async #isUp(): Promise<boolean> {
    const pid = this.#machine?.pid;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    if (!/^\d+$/.test(children)) return false;
    this.#leader = Number(children);
    const { stdout } = await this.run("systemctl", "is-system-running");
    return /^(running|degraded)$/.test(stdout.trim());
  }

  async remove(): Promise<void> {
    if (this.#machine !== undefined) {
      await this.#machine.stop();
      rmSync(join(PROPAGATED, this.#machine.name.replace("systemd of ", "")), { recursive: true, force: true });
    }
    rmSync(this.root, { recursive: true });
  }
}

/** A fresh system. */
export function debianSystem(): DebianSystem {
  const root = mkdtempSync(join(tmpdir(), "culvert-debian-"));
  execFileSync("cp", ["--archive", "--reflink=auto", `${BASE}/.`, root]);
  return new DebianSystem(root);
}
