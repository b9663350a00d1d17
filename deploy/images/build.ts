// Machine. Builds images of what is on this machine: the Node.js that runs this, the libraries of Debian, and the sources here.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { buildVersion } from "@culvert/shared/config/version.ts";
import { bundleProgram, interpreterFlags, type BundledPackage, type ProgramName } from "../bundle/bundle-program.ts";
import { strip } from "./elf.ts";
import { symbolNames, withoutExports } from "./elf-exports.ts";
import { imageOf } from "./image.ts";
import { PATHS, programPath, USER, type ImageKind } from "./image-kinds.ts";
import { digestOf, foldersTo, layerOf, type Entry, type Layer } from "./layer.ts";
import type { ListedImage } from "./layout.ts";
import { commandsOf, librariesOf, type DebianFile } from "./libraries.ts";
import { integrityOf, sbomOf } from "./sbom.ts";

const ROOT = join(import.meta.dirname, "../..");

/** All images of one build. */
export interface Build {
  readonly images: readonly ListedImage[];
  /** As images call it: `amd64`. */
  readonly architecture: string;
}

/** What our programs look up in the executable by `node:ffi` (`shared/src/net/listen-calls.ts`). */
const CALLED_BY_NAME = ["uv_default_loop", "uv_backend_fd"];

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

/** Builds images of these kinds. Throws what keeps it from building, in words for whoever builds. */
export async function buildImages(kinds: readonly ImageKind[]): Promise<Build> {
  const architecture = ARCHITECTURES[process.arch];
  if (architecture === undefined) throw new Error(`no images for ${process.arch}`);
  const node = kinds.some(({ program }) => program !== undefined) ? nodeBase() : undefined;
  const programs = new Map<ProgramName, ProgramFile>();
  const integrity = integrityOf(readFileSync(join(ROOT, "pnpm-lock.yaml"), "utf8"));
  const version = buildVersion();
  const images: ListedImage[] = [];
  for (const kind of kinds) {
    const { program } = kind;
    const base = program === undefined ? undefined : node;
    const tools = commandsOf(kind.tools ?? [], new Set(base?.libraries.map(({ path }) => path)));
    const own = tools.map(executable);
    let bundled: readonly BundledPackage[] = [];
    if (program !== undefined) {
      const made = programs.get(program) ?? (await programFile(program));
      programs.set(program, made);
      own.push(made.file);
      bundled = made.packages;
    }
    const layers =
      base === undefined ? [layerOf(withFolders([...own, PASSWD]))] : [base.layer, layerOf(withFolders(own))];
    const debian = [...(base?.libraries ?? []), ...tools];
    const sbom = sbomOf({ kind, version, nodeVersion: base?.version, debian, bundled, layers, integrity });
    const flags = program === undefined ? [] : interpreterFlags(program);
    const image = imageOf({
      kind,
      layers,
      version,
      architecture,
      interpreterFlags: flags,
      sbomDigest: digestOf(sbom),
    });
    images.push({ ...image, sbom });
  }
  return { images, architecture };
}

/** What all images with Node.js begin with. */
interface NodeBase {
  readonly version: string;
  readonly libraries: readonly DebianFile[];
  readonly layer: Layer;
}

function nodeBase(): NodeBase {
  const version = pinnedNode();
  const whole = readFileSync(process.execPath);
  const libraries = librariesOf(whole);
  const asked = libraries.flatMap(({ content }) => symbolNames(content));
  const node = withoutExports(strip(whole), new Set([...asked, ...CALLED_BY_NAME]));
  return { version, libraries, layer: layerOf(baseEntries(node, libraries)) };
}

/** The version of Node.js that the project pins, which must be the one that runs: it is what goes into the images. */
function pinnedNode(): string {
  const pinned = /^ {2}node: (\S+)$/m.exec(readFileSync(join(ROOT, "pnpm-workspace.yaml"), "utf8"))?.[1];
  const { node } = process.versions;
  if (pinned !== node) throw new Error(`Node.js ${pinned} is pinned, this is ${node}: build by \`pnpm images\``);
  return node;
}

const PASSWD: Entry = {
  path: "/etc/passwd",
  content: Buffer.from(`root:x:0:0:root:/:/\nculvert:x:${USER}:${USER}:culvert:/:/\n`),
  mode: 0o644,
};

function baseEntries(node: Buffer, libraries: readonly DebianFile[]): Entry[] {
  const folders: Entry[] = [
    { path: PATHS.configuration, mode: 0o755 },
    // A new volume that is mounted here takes its owner and mode over.
    { path: PATHS.state, mode: 0o700, owner: USER },
    { path: PATHS.run, mode: 0o700, owner: USER },
  ];
  const program: Entry = { path: PATHS.node, content: node, mode: 0o755 };
  return withFolders([...folders, program, ...libraries.map(executable), PASSWD]);
}

function executable({ path, content }: DebianFile): Entry {
  return { path, content, mode: 0o755 };
}

function withFolders(entries: readonly Entry[]): Entry[] {
  const above = entries.flatMap(({ path }) => foldersTo(path));
  return [...new Map([...above, ...entries].map((entry) => [entry.path, entry])).values()];
}

interface ProgramFile {
  readonly file: Entry;
  readonly packages: readonly BundledPackage[];
}

async function programFile(program: ProgramName): Promise<ProgramFile> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-images-"));
  try {
    const { path, packages } = await bundleProgram(program, folder);
    return { file: { path: programPath(program), content: readFileSync(path), mode: 0o644 }, packages };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
