// Machine. The last good snapshot on disk: written beside its place and moved there, some time after a change; read only if it is
// ours alone, and then checked like any file. Import it by `await import`, where it is configured: it brings MessagePack with it.
import { constants } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import type { Clock, Timer } from "../net/clock.ts";
import { NEW_SYNCED } from "../identity/write-file.ts";
import { duplicates } from "./cross-check.ts";
import { LAST_GOOD_LIMITS, packFile, packSnapshot, unpackSnapshot, type LastGood } from "./last-good-format.ts";
import { formatProblem } from "./problem-text.ts";
import type { Kinds } from "./resources/kind-reader.ts";
import { parseResource } from "./resources/parse-resource.ts";
import type { ParsedResources, Resource } from "./resources/resource.ts";
import { withoutSecrets } from "./resources/backend-tls/without-secrets.ts";
import type { Problem } from "./snapshot.ts";
import type { Node } from "./tree.ts";

/** A folder that is being written to changes several times; this long after the first of them its state is saved. */
const SAVE_AFTER_MS = 1_000;
/** A disk that is full may have room again after this. */
const RETRY_MS = 60_000;
/** Documents that are read before others get a turn: some milliseconds. */
const DOCUMENTS_PER_TURN = 32;

/** What was in use when it was saved, milliseconds since the epoch. */
export interface Restored {
  readonly savedAt: number;
  readonly parsed: ParsedResources;
}

/** The place of one snapshot. */
export class LastGoodStore {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #onFailure: (reason: string) => void;
  readonly #kinds: Kinds | undefined;
  #next: (() => readonly Uint8Array[]) | undefined;
  #timer: Timer | undefined;
  #writing = false;
  #isClosed = false;

  /** `onFailure` is told in one sentence why the newest state could not be saved; it must not throw. */
  constructor(path: string, clock: Clock, onFailure: (reason: string) => void, kinds?: Kinds) {
    this.#path = path;
    this.#clock = clock;
    this.#onFailure = onFailure;
    this.#kinds = kinds;
  }

  /** Makes the part that a file has in the snapshot. */
  readonly pack = (path: string, documents: readonly Node[]): Uint8Array =>
    packFile(path, documents.map(withoutSecrets));

  /** Saves a state soon; of several the last, which `files` gives then. */
  save(files: () => readonly Uint8Array[]): void {
    this.#next = files;
    if (!this.#writing) this.#arm(SAVE_AFTER_MS);
  }

  /** The state that was saved last, if it may be used; one sentence if not. */
  async restore(): Promise<Restored | string> {
    const found = await readLastGood(this.#path);
    if (typeof found === "string") return found;
    const parsed = await parseAll(found, this.#kinds);
    const errors = parsed.problems.filter(({ severity }) => severity === "error");
    const [first] = errors;
    if (first === undefined) return { savedAt: found.savedAt, parsed };
    return `${this.#path}: ${errors.length} errors in what it holds, the first: ${formatProblem(first)}`;
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #arm(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(delayMs, () => void this.#write());
  }

  async #write(): Promise<void> {
    const files = this.#next;
    if (files === undefined || this.#isClosed) return;
    this.#next = undefined;
    this.#writing = true;
    const reason = await writeLastGood(this.#path, this.#clock.now(), files());
    this.#writing = false;
    if (this.#isClosed) return;
    if (reason !== undefined) {
      this.#next ??= files;
      this.#onFailure(reason);
    }
    if (this.#next !== undefined) this.#arm(reason === undefined ? SAVE_AFTER_MS : RETRY_MS);
  }
}

async function parseAll({ files }: LastGood, kinds: Kinds | undefined): Promise<ParsedResources> {
  const resources: Resource[] = [];
  const problems: Problem[] = [];
  let documents = 0;
  for (const node of files.flatMap((file) => file.documents)) {
    const parsed = parseResource(node, kinds);
    resources.push(...parsed.resources);
    problems.push(...parsed.problems);
    documents += 1;
    if (documents % DOCUMENTS_PER_TURN === 0) await turn();
  }
  return { resources, problems: [...problems, ...duplicates(resources)] };
}

/** Writes a snapshot in place of the one before; one sentence when that failed, and the one before stays. */
export async function writeLastGood(
  path: string,
  savedAt: number,
  files: readonly Uint8Array[],
): Promise<string | undefined> {
  const fresh = `${path}.${process.pid}`;
  try {
    const pieces = packSnapshot(savedAt, files);
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (size > LAST_GOOD_LIMITS.bytes)
      return `${path}: expected at most ${LAST_GOOD_LIMITS.bytes} bytes, found ${size}`;
    await rm(fresh, { force: true });
    {
      // Moved before its bytes are on the disk, it could be empty after a loss of power.
      await using handle = await open(fresh, NEW_SYNCED, 0o600);
      await handle.writev(pieces);
    }
    await rename(fresh, path);
    await syncFolder(dirname(path));
    return undefined;
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => undefined);
    return `${path}: ${messageOf(error)}`;
  }
}

/** Reads the snapshot, or says in one sentence why there is none to be used. */
export async function readLastGood(path: string): Promise<LastGood | string> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { mode, uid, size } = await handle.stat();
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) return `${path}: expected a regular file`;
    const permissions = mode & 0o777;
    if ((permissions & 0o077) !== 0)
      return `${path}: expected mode 0600, found ${permissions.toString(8).padStart(4, "0")}`;
    const own = process.geteuid?.();
    if (own !== undefined && uid !== own) return `${path}: expected a file of user ${own}, found one of user ${uid}`;
    if (size > LAST_GOOD_LIMITS.bytes)
      return `${path}: expected at most ${LAST_GOOD_LIMITS.bytes} bytes, found ${size}`;
    const buffer = Buffer.alloc(size);
    const { bytesRead } = await handle.read(buffer, 0, size, 0);
    const found = unpackSnapshot(buffer.subarray(0, bytesRead));
    return typeof found === "string" ? `${path}: ${found}` : found;
  } catch (error) {
    return `${path}: ${messageOf(error)}`;
  }
}

/** The entry of a moved file is the folder's, and so is its way to the disk. */
async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  await handle.sync().catch(() => undefined);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
