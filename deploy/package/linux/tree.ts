// Machine. Fills a folder with what is installed on a host: the pinned Node.js without its symbols, a bundled file per program, commands,
// units of systemd, configuration to begin with. The same for a Debian package and a tarball, at other places.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { bundleProgram, interpreterFlags } from "../../bundle/bundle-program.ts";

const HERE = import.meta.dirname;
const ROOT = join(HERE, "../../..");
const PROGRAMS = ["uproxy", "waypoint", "authority"] as const;
const EXECUTABLE = 0o755;
const PLAIN = 0o644;

/** Where things are installed: absolute paths of the host. */
export interface Places {
  /** Commands. */
  readonly bin: string;
  /** Node and programs. */
  readonly lib: string;
  readonly units: string;
  readonly sysusers: string;
  readonly config: string;
  readonly doc: string;
}

/** What is the same wherever it is installed, made once. */
export class Contents {
  /** Files by their names. */
  readonly #built: string;

  private constructor(built: string) {
    this.#built = built;
  }

  /** Bundles the programs and strips Node; `close` when done. */
  static async make(): Promise<Contents> {
    const built = mkdtempSync(join(tmpdir(), "culvert-package-"));
    for (const program of PROGRAMS) await bundleProgram(program, built);
    execFileSync("strip", ["--strip-all", "-o", join(built, "node"), process.execPath]);
    return new Contents(built);
  }

  close(): void {
    rmSync(this.#built, { recursive: true });
  }

  /** Writes everything below `root` as it is to lie on the host. */
  install(root: string, places: Places): void {
    const { bin, lib, units, sysusers, config, doc } = places;
    const filled = (name: string, more: Readonly<Record<string, string>> = {}): string =>
      fill(readFileSync(join(HERE, name), "utf8"), { BIN: bin, LIB: lib, DOC: doc, ...more });
    put(root, join(lib, "node"), readFileSync(join(this.#built, "node")), EXECUTABLE);
    for (const program of PROGRAMS) {
      const flags = ["--no-strip-types", ...interpreterFlags(program)].join(" ");
      put(root, join(lib, `${program}.mjs`), bundled(join(this.#built, `${program}.mjs`)), PLAIN);
      put(root, join(bin, program), filled("program.sh", { FLAGS: flags, PROGRAM: program }), EXECUTABLE);
    }
    put(root, join(lib, "service.sh"), filled("service.sh"), EXECUTABLE);
    for (const unit of readdirSync(join(HERE, "units"))) put(root, join(units, unit), filled(`units/${unit}`), PLAIN);
    put(root, join(sysusers, "culvert.conf"), filled("sysusers.conf"), PLAIN);
    for (const file of readdirSync(join(HERE, "etc"))) put(root, join(config, file), filled(`etc/${file}`), PLAIN);
    mkdirSync(join(root, config, "mesh"), { recursive: true });
    put(root, join(doc, "README.md"), readFileSync(join(ROOT, "docs/vm.md"), "utf8"), PLAIN);
    put(root, join(doc, "copyright"), filled("copyright"), PLAIN);
    put(root, join(doc, "examples/memory.conf"), filled("memory.conf"), PLAIN);
  }
}

/** A bundle without the line that starts it by its name: the command has its flags, and lines keep their numbers. */
function bundled(path: string): string {
  return readFileSync(path, "utf8").replace(/^#!.*/, "//");
}

/** Replaces each `@NAME@`. */
function fill(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/@([A-Z]+)@/g, (whole, name: string) => values[name] ?? whole);
}

/** Writes a file with exactly that mode, whatever the umask. */
export function put(root: string, path: string, content: string | Buffer, mode: number): void {
  const target = join(root, path);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, content);
  chmodSync(target, mode);
}
