// Pure. What an image needs to know of an ELF executable, and the executable without what only debuggers and linkers read.

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NULL = 0n;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;

const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;

/** What of an executable the loader looks at. */
export interface Elf {
  /** Path of its loader; undefined for a library. */
  readonly interpreter: string | undefined;
  /** Names of the libraries that it asks for, in its order. */
  readonly needed: readonly string[];
}

/** A part of the file that is loaded, or that tells how to load it. */
export interface Segment {
  /** Where in the file it is described. */
  readonly header: number;
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
}

/** Reads an executable or a library of 64 bits, little-endian. Throws when the file is no such thing. */
export function readElf(file: Buffer): Elf {
  const segments = segmentsOf(file);
  const interpreter = segments.find(({ type }) => type === PT_INTERP);
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  const entries = dynamic === undefined ? [] : dynamicEntries(file, dynamic);
  const strings = entries.find(({ tag }) => tag === DT_STRTAB)?.value ?? 0;
  return {
    interpreter: interpreter === undefined ? undefined : textAt(file, interpreter.offset),
    needed: entries
      .filter(({ tag }) => tag === DT_NEEDED)
      .map(({ value }) => textAt(file, offsetOf(segments, strings) + value)),
  };
}

/**
 * The file up to the end of what is loaded: symbols, debug information and the table of sections are behind it, and nothing
 * that runs reads them.
 */
export function strip(file: Buffer): Buffer {
  const end = Math.max(
    ...segmentsOf(file)
      .filter(({ type }) => type === PT_LOAD)
      .map(({ offset, fileBytes }) => offset + fileBytes),
  );
  const stripped = Buffer.from(file.subarray(0, end));
  // Where the table of sections is, how many entries it has, and which of them has the names.
  stripped.writeBigUInt64LE(0n, 0x28);
  stripped.writeUInt16LE(0, 0x3c);
  stripped.writeUInt16LE(0, 0x3e);
  return stripped;
}

/** What a file has to be loaded. */
export function segmentsOf(file: Buffer): Segment[] {
  if (file.length < 64 || file.toString("latin1", 0, 4) !== "\x7fELF") throw new Error("no ELF file");
  if (file[4] !== CLASS_64 || file[5] !== LITTLE_ENDIAN) throw new Error("not of 64 bits, little-endian");
  const table = Number(file.readBigUInt64LE(0x20));
  const size = file.readUInt16LE(0x36);
  return Array.from({ length: file.readUInt16LE(0x38) }, (_, index) => {
    const at = table + index * size;
    return {
      header: at,
      type: file.readUInt32LE(at),
      offset: Number(file.readBigUInt64LE(at + 8)),
      address: Number(file.readBigUInt64LE(at + 16)),
      fileBytes: Number(file.readBigUInt64LE(at + 32)),
    };
  });
}

/** One thing that the loader is told. */
export interface DynamicEntry {
  /** Where in the file it stands. */
  readonly at: number;
  readonly tag: bigint;
  readonly value: number;
}

/** What the loader is told in a segment that is made for it. */
export function dynamicEntries(file: Buffer, { offset, fileBytes }: Segment): DynamicEntry[] {
  const entries: DynamicEntry[] = [];
  for (let at = offset; at < offset + fileBytes; at += 16) {
    const tag = file.readBigInt64LE(at);
    if (tag === DT_NULL) break;
    entries.push({ at, tag, value: Number(file.readBigUInt64LE(at + 8)) });
  }
  return entries;
}

/** Where in the file lies what is at an address in memory. */
export function offsetOf(segments: readonly Segment[], address: number): number {
  const segment = segments.find(
    (candidate) =>
      candidate.type === PT_LOAD && address >= candidate.address && address < candidate.address + candidate.fileBytes,
  );
  if (segment === undefined) throw new Error(`no segment has the address ${address}`);
  return segment.offset + address - segment.address;
}

/** The text up to its closing zero. */
export function textAt(file: Buffer, offset: number): string {
  return file.toString("utf8", offset, file.indexOf(0, offset));
}
