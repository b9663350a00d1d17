// Machine. Builds images of what is on this machine: the Node.js that runs this, the libraries of Debian, and the sources here.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { buildVersion } from "@culvert/shared/config/version.ts";
import { bundleProgram, interpreterFlags, type BundledPackage, type ProgramName } from "../bundle/bundle-program.ts";
import { strip } from "./elf.ts";
import { symbolNames, withoutExports } from "./elf-exports.ts";
import { imageOf, type Image } from "./image.ts";
import { PATHS, programPath, USER, type ImageKind } from "./image-kinds.ts";
import { digestOf, foldersTo, layerOf, type Entry, type Layer } from "./layer.ts";
import { librariesOf } from "./libraries.ts";
import { integrityOf, sbomOf } from "./sbom.ts";

const ROOT = join(import.meta.dirname, "../..");

/** An image with the list of what is in it. */
export interface BuiltImage extends Image {
  readonly sbom: string;
}

/** All images of one build. */
export interface Build {
  readonly images: readonly BuiltImage[];
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
  const nodeVersion = pinnedNode();
  const whole = readFileSync(process.execPath);
  const libraries = librariesOf(whole);
  const asked = libraries.flatMap(({ content }) => symbolNames(content));
  const node = withoutExports(strip(whole), new Set([...asked, ...CALLED_BY_NAME]));
  const base = layerOf(baseEntries(node, libraries));
  const programs = new Map<ProgramName, { layer: Layer; packages: readonly BundledPackage[] }>();
  const integrity = integrityOf(readFileSync(join(ROOT, "pnpm-lock.yaml"), "utf8"));
  const version = buildVersion();
  const images: BuiltImage[] = [];
  for (const kind of kinds) {
    const { program } = kind;
    const made = programs.get(program) ?? (await programLayer(kind));
    programs.set(program, made);
    const layers = [base, made.layer];
    const sbom = sbomOf({ kind, version, nodeVersion, libraries, bundled: made.packages, layers, integrity });
    const image = imageOf({
      kind,
      layers,
      version,
      architecture,
      interpreterFlags: interpreterFlags(program),
      sbomDigest: digestOf(sbom),
    });
    images.push({ ...image, sbom });
  }
  return { images, architecture };
}

/** The version of Node.js that the project pins, which must be the one that runs: it is what goes into the images. */
function pinnedNode(): string {
  const pinned = /^ {2}node: (\S+)$/m.exec(readFileSync(join(ROOT, "pnpm-workspace.yaml"), "utf8"))?.[1];
  const { node } = process.versions;
  if (pinned !== node) throw new Error(`Node.js ${pinned} is pinned, this is ${node}: build by \`pnpm images\``);
  return node;
}

function baseEntries(node: Buffer, libraries: readonly { readonly path: string; readonly content: Buffer }[]): Entry[] {
  const files: Entry[] = [
    { path: PATHS.node, content: node, mode: 0o755 },
    ...libraries.map(({ path, content }) => ({ path, content, mode: 0o755 })),
    { path: "/etc/passwd", content: Buffer.from(passwd()), mode: 0o644 },
  ];
  const folders: Entry[] = [
    { path: PATHS.configuration, mode: 0o755 },
    // A new volume that is mounted here takes its owner and mode over.
    { path: PATHS.state, mode: 0o700, owner: USER },
  ];
  const above = [...files, ...folders].flatMap(({ path }) => foldersTo(path));
  return [...new Map([...above, ...folders, ...files].map((entry) => [entry.path, entry])).values()];
}

function passwd(): string {
  return `root:x:0:0:root:/:/\nculvert:x:${USER}:${USER}:culvert:/:/\n`;
}

async function programLayer(kind: ImageKind): Promise<{ layer: Layer; packages: readonly BundledPackage[] }> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-images-"));
  try {
    const { path, packages } = await bundleProgram(kind.program, folder);
    const file = { path: programPath(kind), content: readFileSync(path), mode: 0o644 };
    return { layer: layerOf([...foldersTo(file.path), file]), packages };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
