// Pure. The documents in use, by id and by what they are found under, kept up file by file: a change says which topics it concerns,
// and a state that cannot be used changes nothing.
import { duplicates } from "@culvert/shared/config/cross-check.ts";
import { ResourceIndex } from "@culvert/shared/config/scope/resource-index.ts";
import type { Problem } from "@culvert/shared/config/snapshot.ts";
import { versionOf } from "@culvert/shared/config/stream/frames.ts";
import type { MeshDocument, MeshFile } from "./mesh-files.ts";

/** What a change concerns: who asked for one of the topics may see it. */
export interface MeshChange {
  readonly topics: ReadonlySet<string>;
  readonly ids: ReadonlySet<string>;
}

/** See the head of the file. */
export class Mesh {
  readonly index = new ResourceIndex();
  readonly #documents = new Map<string, MeshDocument>();
  #files: ReadonlyMap<string, MeshFile> = new Map();
  /** Exclusive or of a digest of each document: the same documents make the same state, whoever holds them. */
  #digest = 0n;

  get files(): ReadonlyMap<string, MeshFile> {
    return this.#files;
  }

  get size(): number {
    return this.#documents.size;
  }

  /** What the state is called. */
  get version(): string {
    return this.#digest.toString(16).padStart(16, "0");
  }

  document(id: string): MeshDocument | undefined {
    return this.#documents.get(id);
  }

  /** Puts the files in use, or says with which errors nothing has changed. */
  use(files: ReadonlyMap<string, MeshFile>): MeshChange | readonly Problem[] {
    const errors = errorsOf(files);
    if (errors.length > 0) return errors;
    const topics = new Set<string>();
    const ids = new Set<string>();
    const gone = new Map<string, MeshDocument>();
    const come: MeshDocument[] = [];
    for (const [path, file] of this.#files) {
      const next = files.get(path);
      if (next?.digest === file.digest) continue;
      for (const document of file.documents) gone.set(document.id, document);
    }
    for (const [path, file] of files) {
      if (this.#files.get(path)?.digest !== file.digest) come.push(...file.documents);
    }
    for (const document of come) {
      const before = gone.get(document.id);
      gone.delete(document.id);
      // Only its place is another.
      if (before?.version === document.version) {
        this.#documents.set(document.id, document);
        continue;
      }
      if (before !== undefined) this.#digest ^= digestOf(before);
      this.#digest ^= digestOf(document);
      this.#documents.set(document.id, document);
      for (const topic of this.index.set(document.resource)) topics.add(topic);
      ids.add(document.id);
    }
    for (const document of gone.values()) {
      this.#digest ^= digestOf(document);
      this.#documents.delete(document.id);
      for (const topic of this.index.delete(document.id)) topics.add(topic);
      ids.add(document.id);
    }
    this.#files = files;
    return { topics, ids };
  }
}

/** What of the files keeps them all from being used. */
export function errorsOf(files: ReadonlyMap<string, MeshFile>): readonly Problem[] {
  const all = [...files.values()];
  const problems = all.flatMap((file) => file.problems);
  const resources = all.flatMap((file) => file.documents.map(({ resource }) => resource));
  return [...problems, ...duplicates(resources)].filter(({ severity }) => severity === "error");
}

function digestOf({ id, version }: MeshDocument): bigint {
  return BigInt(`0x${versionOf(Buffer.from(`${id} ${version}`))}`);
}
