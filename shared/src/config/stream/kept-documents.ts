// Pure. What is kept on disk of a configuration stream: its documents by file, in the form of every last good snapshot, and the
// destinations that they answer. Loaded only where something is kept.
import { packFile, type LastGood } from "../last-good-format.ts";
import { pack, Packed } from "../messagepack.ts";
import { packNode } from "../packed-tree.ts";
import { withoutSecrets } from "../resources/backend-tls/without-secrets.ts";
import { titleOf } from "../resources/title.ts";
import type { Node } from "../tree.ts";
import { readDocument, type DocumentReading, type Held, type HeldDocument } from "./documents.ts";
import { packDocument } from "./frames.ts";
import { formatProblem } from "../problem-text.ts";

/** Stands where the file of documents has its path; no file of a folder is called so. */
const KEYS = "\0keys";

/** What was kept. */
export interface Kept {
  readonly held: Held;
  /** The keys that it answers. */
  readonly keys: readonly string[];
}

/** What is kept of one document. */
export function keepDocument(document: Node): Uint8Array {
  return pack(packNode(withoutSecrets(document)));
}

/** The parts of a snapshot on disk. */
export function keptFiles(held: Held, keys: readonly string[]): readonly Uint8Array[] {
  const files = new Map<string, Packed[]>();
  for (const { source, kept } of held.values()) {
    if (kept === undefined) continue;
    const file = files.get(source);
    if (file === undefined) files.set(source, [new Packed(kept)]);
    else file.push(new Packed(kept));
  }
  const place = { source: "", line: 0 };
  const items = keys.map((value) => ({ kind: "scalar", value, ...place }) as const);
  const packed = [...files].map(([path, documents]) => pack([path, documents]));
  return [...packed, packFile(KEYS, [{ kind: "list", items, ...place }])];
}

/** Reads it back; one sentence when it must not be used. What this version passes over is left out. */
export function readKept({ files }: LastGood, reading: DocumentReading): Kept | string {
  const held = new Map<string, HeldDocument>();
  const keys: string[] = [];
  for (const { path, documents } of files) {
    if (path === KEYS) {
      keys.push(...documents.flatMap(textsOf));
      continue;
    }
    for (const document of documents) {
      const one = readDocument(undefined, packDocument(document).version, document, 0, reading);
      const error = one.parsed.problems.find(({ severity }) => severity === "error");
      if (error !== undefined) return formatProblem(error);
      const [resource] = one.parsed.resources;
      if (resource !== undefined) held.set(titleOf(resource), one);
    }
  }
  return { held, keys };
}

function textsOf(node: Node): string[] {
  if (node.kind !== "list") return [];
  return node.items.flatMap((item) => (item.kind === "scalar" && typeof item.value === "string" ? [item.value] : []));
}
