// Machine. What was issued and has not expired: a line for each certificate, by which it can be revoked by its identity, and by
// which it is known what a root is still needed for. A line is on the disk before its certificate is handed out.
import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { codeOf, readPublicBytes } from "@culvert/shared/identity/read-file.ts";
import { writeFileWhole } from "@culvert/shared/identity/write-file.ts";
import { SECRET, attempt } from "./files.ts";

/** A certificate that was issued. Times are milliseconds since the epoch. */
export interface IssuedEntry {
  /** Upper-case hex. */
  readonly serial: string;
  /** The root whose intermediate has signed it. */
  readonly rootId: string;
  readonly issuedAt: number;
  readonly notAfter: number;
  readonly id: string;
}

/** Some 500,000 certificates: far more than an authority of this kind is for; past it nothing more is issued. */
const MAX_LOG_BYTES = 64 * 1024 * 1024;
const FILE = "issued.log";
/** Synced by each write: under `--permission` the runtime refuses to do it afterwards. */
const APPEND_SYNCED = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_DSYNC;
const LINE = /^([0-9A-F]{1,40}) ([0-9a-f]{16}) (\d{1,14}) (\d{1,14}) (spiffe:\/\/\S{1,2048})$/;
const NEWLINE = 0x0a;

/**
 * Adds lines, which are on the disk when this returns. To be called under the lock for writing. Fails with IDENTITY_UNAVAILABLE;
 * then nothing was added, or lines of certificates that nobody gets.
 */
export async function appendIssued(folder: string, entries: readonly IssuedEntry[]): Promise<Failure | undefined> {
  const place = join(folder, FILE);
  return attempt(place, async () => {
    await using file = await open(place, APPEND_SYNCED, SECRET);
    const { size } = await file.stat();
    const text = entries.map(lineOf).join("");
    if (size + text.length > MAX_LOG_BYTES) {
      return fail(
        "IDENTITY_UNAVAILABLE",
        `${place}: has reached ${MAX_LOG_BYTES} bytes; too many certificates are alive`,
      );
    }
    // A writer that was killed, or whose disk was full, may have left half a line: it must not spoil ours.
    const isTorn = size > 0 && (await file.read(Buffer.alloc(1), 0, 1, size - 1)).buffer[0] !== NEWLINE;
    try {
      await file.appendFile(isTorn ? `\n${text}` : text);
    } catch (error) {
      await file.truncate(size).catch(() => undefined);
      throw error;
    }
    return undefined;
  });
}

/** All certificates that are alive at `now`. Fails with IDENTITY_UNAVAILABLE. */
export async function readIssued(folder: string, now: number): Promise<readonly IssuedEntry[] | Failure> {
  const bytes = await readPublicBytes(join(folder, FILE), MAX_LOG_BYTES + 1);
  if (isFailure(bytes)) return bytes.detail.endsWith("(ENOENT)") ? [] : bytes;
  const entries: IssuedEntry[] = [];
  for (const line of bytes.toString("latin1").split("\n")) {
    const entry = entryOf(line);
    if (entry !== undefined && entry.notAfter > now) entries.push(entry);
  }
  return entries;
}

/** Drops what has expired, if that is much. To be called under the lock for writing. Fails with IDENTITY_UNAVAILABLE. */
export async function compactIssued(folder: string, now: number): Promise<Failure | undefined> {
  const place = join(folder, FILE);
  const entries = await readIssued(folder, now);
  if (isFailure(entries)) return entries;
  return attempt(place, async () => {
    const text = entries.map(lineOf).join("");
    if (text.length * 2 < (await sizeOf(place))) await writeFileWhole(place, text, SECRET);
    return undefined;
  });
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return 0;
    throw error;
  }
}

function lineOf({ serial, rootId, issuedAt, notAfter, id }: IssuedEntry): string {
  return `${serial} ${rootId} ${issuedAt} ${notAfter} ${id}\n`;
}

function entryOf(line: string): IssuedEntry | undefined {
  const [, serial, rootId, issuedAt, notAfter, id] = LINE.exec(line) ?? [];
  if (serial === undefined || rootId === undefined || id === undefined) return undefined;
  return { serial, rootId, issuedAt: Number(issuedAt), notAfter: Number(notAfter), id };
}
