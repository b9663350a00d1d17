// Machine. Reads a folder of resource files whole: what is there, in one state, bounded, file by file so that others get a turn.
import { hash } from "node:crypto";
import { lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { LOAD_LIMITS, loadDocuments } from "./load.ts";
import { readBounded } from "./read-bounded.ts";
import type { Kinds } from "./resources/kind-reader.ts";
import { parseResource } from "./resources/parse-resource.ts";
import type { ParsedResources, Resource } from "./resources/resource.ts";
import type { Problem } from "./snapshot.ts";
import type { Node } from "./tree.ts";

/** What one folder may hold. */
export const FOLDER_LIMITS = {
  /** A mesh of thousands of services with a file for each. */
  files: 10_000,
  /** All files together: about 200,000 resources, some seconds of reading. */
  bytes: 64 * 1024 * 1024,
  /** Attempts to read a folder that changes meanwhile. */
  attempts: 5,
} as const;

/** Documents of one file that are read before others get a turn: some milliseconds. */
const DOCUMENTS_PER_TURN = 32;

/** A file as it was read; equal digests are equal bytes. */
export interface ReadFile extends ParsedResources {
  readonly digest: string;
  /** Its documents as `PackFile` made them; absent when nobody asked, or the file cannot be used. */
  readonly packed?: Uint8Array;
}

/** Makes of a file's documents what is kept of them for the last good snapshot. */
export type PackFile = (path: string, documents: readonly Node[]) => Uint8Array;

/** What else is made of the files, and which kinds are read beside those that all programs read. */
export interface ReadOptions {
  readonly pack?: PackFile | undefined;
  readonly kinds?: Kinds | undefined;
}

/** A folder, its sub-folders one level down, and what tells two states of them apart without reading. */
export interface FolderScan {
  /** Paths of the resource files, sorted. */
  readonly files: readonly string[];
  /** The folder and its sub-folders, with their inode: another one means another folder of that name. */
  readonly folders: ReadonlyMap<string, number>;
  /** What tells two states of one file apart, and when it was changed, milliseconds since the epoch; none for a dangling link. */
  readonly stamps: ReadonlyMap<string, { readonly text: string; readonly changedAt: number }>;
  /** Changes with every change of a name, size, time or inode. */
  readonly signature: string;
}

/** A folder that is empty is mostly a mount that is missing. To believe it would take the mesh away, and let its traffic pass unprotected. */
export const NO_RESOURCE = "expected at least one resource, found none";

/** One whole state of a folder. */
export interface FolderState {
  readonly scan: FolderScan;
  readonly files: ReadonlyMap<string, ReadFile>;
  readonly parsed: ParsedResources;
}

/**
 * Lists `*.yaml`, `*.yml` and `*.json` in a folder and one level below. Names that begin with a dot are left out: in a
 * mounted ConfigMap they hold the versions behind the symbolic links that are followed.
 *
 * @returns the listing, or one sentence that says why not
 */
export async function scanFolder(folder: string): Promise<FolderScan | string> {
  const files: string[] = [];
  const folders = new Map<string, number>();
  const parts: string[] = [];
  const stamps = new Map<string, { text: string; changedAt: number }>();
  const list = async (path: string, isTop: boolean): Promise<void> => {
    folders.set(path, (await stat(path)).ino);
    for (const name of (await readdir(path)).toSorted()) {
      if (name.startsWith(".")) continue;
      const entry = join(path, name);
      const isResource = /\.(ya?ml|json)$/.test(name);
      if (!isResource && !isTop) continue;
      const target = await statOf(entry);
      if (target === undefined) {
        // A dangling link or a file that has just gone; the former is an error once it is read.
        if (isResource && (await lstatOf(entry))) files.push(entry);
      } else if (target.isDirectory()) {
        if (isTop) await list(entry, false);
      } else if (isResource) {
        files.push(entry);
        const text = `${target.ino} ${target.size} ${target.mtimeNs} ${target.ctimeNs}`;
        stamps.set(entry, { text, changedAt: Number(target.ctimeMs) });
        parts.push(`${entry}\n${text}`);
      }
      if (files.length > FOLDER_LIMITS.files) return;
    }
  };
  try {
    await list(folder, true);
  } catch (error) {
    return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (files.length > FOLDER_LIMITS.files) return `expected at most ${FOLDER_LIMITS.files} files, found more`;
  return { files, folders, stamps, signature: hash("sha256", [...folders, ...files, ...parts].join("\n")) };
}

/**
 * Reads a folder in one state: when it changes between the first look and the last, it is read again. Files whose bytes
 * are those of `before` are not parsed again.
 */
export async function readFolder(
  folder: string,
  before: ReadonlyMap<string, ReadFile> = new Map(),
  { pack, kinds }: ReadOptions = {},
): Promise<FolderState | readonly Problem[]> {
  for (let attempt = 1; attempt <= FOLDER_LIMITS.attempts; attempt += 1) {
    const scan = await scanFolder(folder);
    if (typeof scan === "string") return [folderProblem(folder, scan)];
    const files = await readFiles(scan, before, pack, kinds);
    if (typeof files === "string") return [folderProblem(folder, files)];
    const after = await scanFolder(folder);
    if (typeof after === "string" || after.signature !== scan.signature) continue;
    const resources: Resource[] = [];
    const problems: Problem[] = [];
    for (const file of files.values()) {
      resources.push(...file.resources);
      problems.push(...file.problems);
    }
    return { scan, files, parsed: { resources, problems } };
  }
  return [folderProblem(folder, "keeps changing while it is read")];
}

async function readFiles(
  { files }: FolderScan,
  before: ReadonlyMap<string, ReadFile>,
  pack: PackFile | undefined,
  kinds: Kinds | undefined,
): Promise<ReadonlyMap<string, ReadFile> | string> {
  const read = new Map<string, ReadFile>();
  let total = 0;
  for (const path of files) {
    const bytes = await readBounded(path, LOAD_LIMITS.bytesPerFile);
    if (typeof bytes === "string") {
      read.set(path, { digest: bytes, resources: [], problems: [folderProblem(path, bytes)] });
      continue;
    }
    total += bytes.length;
    if (total > FOLDER_LIMITS.bytes) return `expected at most ${FOLDER_LIMITS.bytes} bytes in all files, found more`;
    const digest = hash("sha256", bytes);
    const known = before.get(path);
    read.set(path, known?.digest === digest ? known : { digest, ...(await parseFile(path, bytes, pack, kinds)) });
  }
  return read;
}

async function parseFile(
  path: string,
  bytes: Uint8Array,
  pack: PackFile | undefined,
  kinds: Kinds | undefined,
): Promise<Omit<ReadFile, "digest">> {
  const resources: Resource[] = [];
  const problems: Problem[] = [];
  const nodes: Node[] = [];
  let documents = 0;
  for (const loaded of loadDocuments(path, bytes)) {
    if ("error" in loaded) {
      const { file, line, path: field, text } = loaded.error;
      problems.push({ file, line, resource: "", path: field, text, severity: "error" });
    } else {
      const parsed = parseResource(loaded.node, kinds);
      if (pack !== undefined) nodes.push(loaded.node);
      resources.push(...parsed.resources);
      problems.push(...parsed.problems);
    }
    documents += 1;
    if (documents % DOCUMENTS_PER_TURN === 0) await turn();
  }
  await turn();
  return pack === undefined ? { resources, problems } : { resources, problems, packed: pack(path, nodes) };
}

/** A problem of a folder as a whole. */
export function folderProblem(path: string, text: string): Problem {
  return { file: path, line: 0, resource: "", path: "", text, severity: "error" };
}

async function statOf(path: string): Promise<Awaited<ReturnType<typeof bigStat>> | undefined> {
  try {
    return await bigStat(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function bigStat(path: string) {
  return stat(path, { bigint: true });
}

async function lstatOf(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch {
    return false;
  }
}

function isMissing(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOENT" || code === "ELOOP";
}
