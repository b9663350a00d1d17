// Machine. The files of a watched folder as documents, each packed once for all who get it. Only files that have changed are read and
// parsed again, so that one entry among a hundred thousand costs one file.
import { hash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { buildSnapshot } from "@culvert/shared/config/build.ts";
import { FOLDER_LIMITS, NO_RESOURCE, scanFolder } from "@culvert/shared/config/folder.ts";
import type { FolderScan } from "@culvert/shared/config/folder.ts";
import { LOAD_LIMITS, loadDocuments } from "@culvert/shared/config/load.ts";
import { readBounded } from "@culvert/shared/config/read-bounded.ts";
import { withoutSecrets } from "@culvert/shared/config/resources/backend-tls/without-secrets.ts";
import { parseResource } from "@culvert/shared/config/resources/parse-resource.ts";
import type { Resource } from "@culvert/shared/config/resources/resource.ts";
import { titleOf } from "@culvert/shared/config/resources/title.ts";
import { routing } from "@culvert/shared/config/routing/routing.ts";
import type { Problem } from "@culvert/shared/config/snapshot.ts";
import { FRAME_LIMITS, packDocument } from "@culvert/shared/config/stream/frames.ts";
import type { PackedDocument } from "@culvert/shared/config/stream/frames.ts";
import type { Node } from "@culvert/shared/config/tree.ts";

/** One resource with the form in which it travels. */
export interface MeshDocument extends PackedDocument {
  readonly id: string;
  readonly resource: Resource;
}

/** One file as it was read; equal digests are equal bytes. */
export interface MeshFile {
  readonly digest: string;
  readonly stamp: string;
  /** Whether a later change is sure to have another stamp: the file was old already when it was read. */
  readonly isSettled: boolean;
  readonly documents: readonly MeshDocument[];
  readonly problems: readonly Problem[];
}

/** One whole state of the folder. */
export interface MeshFiles {
  readonly scan: FolderScan;
  readonly files: ReadonlyMap<string, MeshFile>;
}

/** Documents of one file that are read before others get a turn: some milliseconds. */
const DOCUMENTS_PER_TURN = 32;
/** Times of files grow in steps; within one of them two changes look the same. */
const SETTLED_AFTER_MS = 2_000;

/** Reads the folder in one state; the problems when it cannot be read at all. */
export async function readMesh(
  folder: string,
  before: ReadonlyMap<string, MeshFile>,
  now: () => number,
): Promise<MeshFiles | readonly Problem[]> {
  for (let attempt = 1; attempt <= FOLDER_LIMITS.attempts; attempt += 1) {
    const scan = await scanFolder(folder);
    if (typeof scan === "string") return [problemOf(folder, scan)];
    const files = await readAll(scan, before, now);
    if (typeof files === "string") return [problemOf(folder, files)];
    const after = await scanFolder(folder);
    if (typeof after === "string" || after.signature !== scan.signature) continue;
    const isEmpty = [...files.values()].every(({ documents, problems }) => documents.length + problems.length === 0);
    return isEmpty ? [problemOf(folder, NO_RESOURCE)] : { scan, files };
  }
  return [problemOf(folder, "keeps changing while it is read")];
}

/** All problems of a folder of resources, those between resources too. */
export async function checkMesh(folder: string): Promise<readonly Problem[]> {
  const state = await readMesh(folder, new Map(), () => 0);
  if (!("files" in state)) return state;
  const all = [...state.files.values()];
  const problems = all.flatMap((file) => file.problems);
  const resources = all.flatMap((file) => file.documents.map(({ resource }) => resource));
  return buildSnapshot(1, { resources, problems }, () => [], routing).problems;
}

async function readAll(
  { files, stamps }: FolderScan,
  before: ReadonlyMap<string, MeshFile>,
  now: () => number,
): Promise<ReadonlyMap<string, MeshFile> | string> {
  const read = new Map<string, MeshFile>();
  let total = 0;
  for (const path of files) {
    const known = before.get(path);
    const stamp = stamps.get(path);
    if (stamp !== undefined && known?.stamp === stamp.text && known.isSettled) {
      read.set(path, known);
      continue;
    }
    const isSettled = stamp !== undefined && now() - stamp.changedAt > SETTLED_AFTER_MS;
    const bytes = await readBounded(path, LOAD_LIMITS.bytesPerFile);
    const place = { stamp: stamp?.text ?? "", isSettled };
    if (typeof bytes === "string") {
      read.set(path, { ...place, digest: bytes, documents: [], problems: [problemOf(path, bytes)] });
      continue;
    }
    total += bytes.length;
    if (total > FOLDER_LIMITS.bytes) return `expected at most ${FOLDER_LIMITS.bytes} bytes in all files, found more`;
    const digest = hash("sha256", bytes);
    read.set(
      path,
      known?.digest === digest ? { ...known, ...place } : { ...place, digest, ...(await parse(path, bytes)) },
    );
  }
  return read;
}

async function parse(path: string, bytes: Uint8Array): Promise<Pick<MeshFile, "documents" | "problems">> {
  const documents: MeshDocument[] = [];
  const problems: Problem[] = [];
  let count = 0;
  for (const loaded of loadDocuments(path, bytes)) {
    if ("error" in loaded) {
      const { file, line, path: field, text } = loaded.error;
      problems.push({ file, line, resource: "", path: field, text, severity: "error" });
      continue;
    }
    for (const node of itemsOf(loaded.node)) {
      const parsed = parseResource(node, routing.kinds);
      problems.push(...parsed.problems);
      for (const resource of parsed.resources) {
        const document = documentOf(node, resource);
        if (typeof document === "string") problems.push(problemOf(path, document, resource));
        else documents.push(document);
      }
      count += 1;
      if (count % DOCUMENTS_PER_TURN === 0) await turn();
    }
  }
  return { documents, problems };
}

/** The resources of a `List`, as kubectl writes it, travel one by one. */
function itemsOf(node: Node): readonly Node[] {
  if (node.kind !== "map") return [node];
  const kind = node.entries.get("kind")?.value;
  const items = node.entries.get("items")?.value;
  return kind?.kind === "scalar" && kind.value === "List" && items?.kind === "list" ? items.items : [node];
}

function documentOf(node: Node, resource: Resource): MeshDocument | string {
  const packed = packDocument(withoutSecrets(node));
  const { length } = packed.packed.bytes;
  if (length > FRAME_LIMITS.documentBytes) {
    return `expected at most ${FRAME_LIMITS.documentBytes} bytes of a packed resource, found ${length}`;
  }
  return { ...packed, id: titleOf(resource), resource };
}

function problemOf(file: string, text: string, resource?: Resource): Problem {
  const title = resource === undefined ? "" : titleOf(resource);
  return { file, line: resource?.metadata.line ?? 0, resource: title, path: "", text, severity: "error" };
}
