// Machine. The resource documents that a proxy holds of the authority's: an update is judged whole, and parsed as far as it is new,
// before any of it counts.
import { setImmediate as turn } from "node:timers/promises";
import { duplicates } from "../cross-check.ts";
import type { Kinds } from "../resources/kind-reader.ts";
import { parseResource } from "../resources/parse-resource.ts";
import type { ParsedResources, Resource } from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";
import type { Problem } from "../snapshot.ts";
import type { Node } from "../tree.ts";
import { FRAME_LIMITS } from "./frames.ts";
import type { WholeUpdate } from "./update-parts.ts";

/** What a proxy holds at most, beside their number. */
export const DOCUMENT_LIMITS = {
  /** Packed: what a folder of the largest size makes, and the room that the places of nodes take. */
  bytes: 128 * 1024 * 1024,
} as const;

/** Of an update with as many errors the rest is not read: it is refused, and more of them tell nobody anything. */
const MOST_PROBLEMS = 1_000;
/** Documents that are parsed before others get a turn: some milliseconds. */
const DOCUMENTS_PER_TURN = 32;

/** A document that is held. */
export interface HeldDocument {
  readonly version: string;
  /** Where it stands in the authority's folder. */
  readonly source: string;
  readonly line: number;
  /** About what it took on its way. */
  readonly bytes: number;
  readonly parsed: ParsedResources;
  /** What `keep` has made of it. */
  readonly kept: Uint8Array | undefined;
}

/** Documents by id. */
export type Held = ReadonlyMap<string, HeldDocument>;

/** How documents are read. */
export interface DocumentReading {
  /** Kinds beside those that all programs read. */
  readonly kinds: Kinds | undefined;
  /** Makes what is kept of a document for the next start. */
  readonly keep: ((document: Node) => Uint8Array) | undefined;
}

/** What is held after an update, and what all of it says. */
export interface Judged {
  readonly held: Held;
  readonly parsed: ParsedResources;
}

/**
 * What an update makes of what is held; the problems when it must not be used. Documents that have not changed are not parsed
 * again.
 */
export async function judgeUpdate(
  before: Held,
  { set, removed, bytes }: Pick<WholeUpdate, "set" | "removed" | "bytes">,
  reading: DocumentReading,
): Promise<Judged | readonly Problem[]> {
  const held = new Map(before);
  const problems: Problem[] = [];
  for (const id of removed) held.delete(id);
  const share = Math.ceil(bytes / Math.max(1, set.size));
  let documents = 0;
  for (const [id, { version, document }] of set) {
    const one = readDocument(id, version, document, share, reading);
    for (const problem of one.parsed.problems) if (problem.severity === "error") problems.push(problem);
    if (problems.length > MOST_PROBLEMS) break;
    held.set(id, one);
    documents += 1;
    if (documents % DOCUMENTS_PER_TURN === 0) await turn();
  }
  if (problems.length > 0) return problems;
  const excess = excessOf(held);
  if (excess !== undefined) return [problemOf(excess)];
  const parsed = joined(held);
  const repeated = [...duplicates(parsed.resources)];
  return repeated.length > 0 ? repeated : { held, parsed };
}

/** Reads one document; what is wrong with it stands among its problems. Without `id` it may be called anything. */
export function readDocument(
  id: string | undefined,
  version: string,
  document: Node,
  bytes: number,
  { kinds, keep }: DocumentReading,
): HeldDocument {
  const { source, line } = document;
  let parsed = parseResource(document, kinds);
  const [resource] = parsed.resources;
  // What is called otherwise than it is asked for would escape its own removal.
  if (id !== undefined && resource !== undefined && titleOf(resource) !== id) {
    const text = `expected ${id}, as it was sent, found ${titleOf(resource)}`;
    parsed = { resources: [], problems: [{ ...problemOf(text), file: source, line, resource: id, path: "metadata" }] };
  }
  return { version, source, line, bytes, parsed, kept: keep?.(document) };
}

/** All that is held, in the order of the authority's folder: of two resources that claim the same the first counts there too. */
export function joined(held: Held): ParsedResources {
  const documents = [...held.values()].toSorted((a, b) =>
    a.source === b.source ? a.line - b.line : a.source < b.source ? -1 : 1,
  );
  const resources: Resource[] = [];
  const problems: Problem[] = [];
  for (const { parsed } of documents) {
    resources.push(...parsed.resources);
    problems.push(...parsed.problems);
  }
  return { resources, problems };
}

function excessOf(held: Held): string | undefined {
  if (held.size > FRAME_LIMITS.documents) {
    return `expected at most ${FRAME_LIMITS.documents} documents, found ${held.size}`;
  }
  let bytes = 0;
  for (const document of held.values()) bytes += document.bytes;
  return bytes > DOCUMENT_LIMITS.bytes
    ? `expected at most ${DOCUMENT_LIMITS.bytes} bytes of documents, found ${bytes}`
    : undefined;
}

function problemOf(text: string): Problem {
  return { file: "authority", line: 0, resource: "", path: "", text, severity: "error" };
}
