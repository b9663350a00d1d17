// Machine. Fills a folder with what is installed on a host: the pinned Node.js without its symbols, a bundled file per program, commands,
// units of systemd, configuration to begin with. The same for a Debian package and a tarball, at other places.
import { execFile, execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { bundleProgram, interpreterFlags } from "../../bundle/bundle-program.ts";
import { commandsIn, manPage, type Release } from "./man.ts";

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
  /** Manual pages, of all sections. */
  readonly man: string;
}

/** What is the same wherever it is installed, made once. */
export class Contents {
  /** Files by their names. */
  readonly #built: string;
  /** Manual pages by their programs. */
  readonly #pages: ReadonlyMap<string, string>;

  private constructor(built: string, pages: ReadonlyMap<string, string>) {
    this.#built = built;
    this.#pages = pages;
  }

  /** Bundles the programs, strips Node and writes the manual; `close` when done. */
  static async make(release: Release): Promise<Contents> {
    const built = mkdtempSync(join(tmpdir(), "culvert-package-"));
    for (const program of PROGRAMS) await bundleProgram(program, built);
    execFileSync("strip", ["--strip-all", "--remove-section=.comment", "-o", join(built, "node"), process.execPath]);
    const pages = await Promise.all(
      PROGRAMS.map(async (name): Promise<[string, string]> => [
        name,
        await manual(name, join(built, `${name}.mjs`), release),
      ]),
    );
    return new Contents(built, new Map(pages));
  }

  close(): void {
    rmSync(this.#built, { recursive: true });
  }

  /** Writes everything below `root` as it is to lie on the host. */
  install(root: string, places: Places): void {
    const { bin, lib, units, sysusers, config, doc, man } = places;
    const filled = (name: string, more: Readonly<Record<string, string>> = {}): string =>
      fill(readFileSync(join(HERE, name), "utf8"), { BIN: bin, LIB: lib, DOC: doc, ...more });
    put(root, join(lib, "node"), readFileSync(join(this.#built, "node")), EXECUTABLE);
    for (const program of PROGRAMS) {
      const flags = ["--no-strip-types", ...interpreterFlags(program)].join(" ");
      put(root, join(lib, `${program}.mjs`), bundled(join(this.#built, `${program}.mjs`)), PLAIN);
      put(root, join(bin, program), filled("program.sh", { FLAGS: flags, PROGRAM: program }), EXECUTABLE);
    }
    for (const [program, page] of this.#pages) {
      put(root, join(man, "man1", `${program}.1.gz`), gzipSync(page, { level: 9 }), PLAIN);
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

/** The manual page of a bundled program, from what it answers. */
async function manual(name: string, bundle: string, release: Release): Promise<string> {
  const help = async (...command: readonly string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(process.execPath, [bundle, ...command, "--help"]);
    return stdout;
  };
  const program = await help();
  const commands: string[] = [];
  for (const command of commandsIn(name, program)) commands.push(await help(command));
  return manPage({ name, program, commands }, release);
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
