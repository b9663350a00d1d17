// Machine. The libraries that an executable loads, found where Debian keeps them, with the packages that they come from.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { readElf, strip } from "./elf.ts";

/** A package of Debian. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly source: string;
  readonly sourceVersion: string;
}

/** A library, the loader or a command. */
export interface DebianFile {
  /** Where the loader looks for it, or it is started from. */
  readonly path: string;
  readonly content: Buffer;
  readonly debian: DebianPackage;
}

const TRIPLETS: Readonly<Record<string, string>> = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

/**
 * The loader of an executable and all libraries that it needs, of this machine, sorted by path.
 * Throws when one is not there or belongs to no package: what nobody can name must not be shipped.
 */
export function librariesOf(executable: Buffer): DebianFile[] {
  const { interpreter, needed } = readElf(executable);
  if (interpreter === undefined) throw new Error("the executable names no loader");
  const found = new Map([[interpreter, fileAt(interpreter)]]);
  const wanted = [...needed];
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    const path = pathOf(name, interpreter);
    if (found.has(path)) continue;
    const library = fileAt(path);
    found.set(path, library);
    wanted.push(...readElf(library.content).needed);
  }
  return [...found.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** Commands of this machine with all libraries that they need, but for those at paths that are there already. */
export function commandsOf(paths: readonly string[], there: ReadonlySet<string>): DebianFile[] {
  const files = paths.map(fileAt);
  const libraries = files.flatMap(({ content }) => librariesOf(content));
  return [...new Map([...files, ...libraries].map((file) => [file.path, file])).values()].filter(
    ({ path }) => !there.has(path),
  );
}

function pathOf(name: string, interpreter: string): string {
  if (interpreter.endsWith(`/${name}`)) return interpreter;
  const triplet = TRIPLETS[process.arch];
  if (triplet === undefined)
    throw new Error(`no images for ${process.arch}: known are ${Object.keys(TRIPLETS).join(", ")}`);
  const folders = [`/lib/${triplet}`, `/usr/lib/${triplet}`];
  const folder = folders.find((candidate) => existsSync(join(candidate, name)));
  if (folder === undefined) throw new Error(`${name} is in none of ${folders.join(", ")}: images are built on Debian`);
  // The loader looks there without being told.
  return `/lib/${triplet}/${name}`;
}

function fileAt(path: string): DebianFile {
  return { path, content: strip(readFileSync(path)), debian: packageOf(realpathSync(path)) };
}

function packageOf(path: string): DebianPackage {
  // Which spelling the package's list has depends on whether it was made before /lib became /usr/lib.
  const spellings = [path, path.replace(/^\/usr\//, "/"), `/usr${path}`];
  const name = spellings.map(ownerOf).find((owner) => owner !== undefined);
  if (name === undefined) throw new Error(`${path} belongs to no Debian package: images are built on Debian`);
  const format = "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}";
  const [own = "", version = "", architecture = "", source = "", sourceVersion = ""] =
    query("-W", "-f", format, name)?.split(" ") ?? [];
  return { name: own, version, architecture, source, sourceVersion };
}

function ownerOf(path: string): string | undefined {
  return query("-S", path)?.split(": ", 1)[0];
}

function query(...args: readonly string[]): string | undefined {
  try {
    return execFileSync("dpkg-query", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return undefined;
  }
}
