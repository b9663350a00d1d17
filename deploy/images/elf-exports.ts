// Pure. An executable without the names that it offers to add-ons: 4 MB of Node.js, in images that can load none.
//
// An executable at fixed addresses begins with what only its loader reads: names, symbols, versions and relocations. Here these
// tables are written anew, with the names that are still wanted, and what follows moves up by whole pages. No address in memory
// changes, so that nothing else has to.
import { dynamicEntries, offsetOf, segmentsOf, textAt, type DynamicEntry, type Segment } from "./elf.ts";

const PAGE = 4096;
const SYMBOL_BYTES = 24;
const RELOCATION_BYTES = 24;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const ET_EXEC = 2;

/** Entries of the dynamic section. */
const DT = {
  needed: 1n,
  relocations: 7n,
  relocationBytes: 8n,
  jumpRelocations: 23n,
  jumpRelocationBytes: 2n,
  strings: 5n,
  symbols: 6n,
  stringBytes: 10n,
  soname: 14n,
  rpath: 15n,
  runpath: 29n,
  hash: 4n,
  gnuHash: 0x6ffffef5n,
  symbolVersions: 0x6ffffff0n,
  versionDefinitions: 0x6ffffffcn,
  neededVersions: 0x6ffffffen,
  neededVersionCount: 0x6fffffffn,
} as const;

/** Names of an executable's or library's symbols. */
export function symbolNames(file: Buffer): string[] {
  const tables = new Tables(file);
  return Array.from({ length: tables.symbolCount }, (_, index) => tables.symbol(index).name).filter(
    (name) => name !== "",
  );
}

/**
 * The executable with those symbols only that it takes from libraries itself, that its relocations name, or that `wanted` holds.
 * Throws when it is built otherwise than is understood here.
 */
export function withoutExports(file: Buffer, wanted: ReadonlySet<string>): Buffer {
  const tables = new Tables(file);
  tables.check();
  const named = new Set(tables.relocated());
  const all = Array.from({ length: tables.symbolCount }, (_, index) => index).slice(1);
  const imports = all.filter((index) => tables.symbol(index).isImport);
  // Only what is defined here is looked up by name, and the table for that wants it last.
  const exports = all.filter((index) => {
    const { isImport, name } = tables.symbol(index);
    return !isImport && (named.has(index) || wanted.has(name));
  });
  return tables.rebuilt([0, ...imports, ...exports], imports.length + 1);
}

/** The tables of one file, as they are, and written anew. */
class Tables {
  readonly #file: Buffer;
  readonly #segments: readonly Segment[];
  readonly #entries: readonly DynamicEntry[];
  readonly #strings: number;
  readonly #symbols: number;

  constructor(file: Buffer) {
    this.#file = file;
    this.#segments = segmentsOf(file);
    const dynamic = this.#segments.find(({ type }) => type === PT_DYNAMIC);
    this.#entries = dynamic === undefined ? [] : dynamicEntries(file, dynamic);
    this.#strings = this.#offset(DT.strings);
    this.#symbols = this.#offset(DT.symbols);
  }

  /** The tables lie one behind the other at the beginning of the file, in a part of their own: else throws. */
  check(): void {
    const first = this.#first();
    const isAlone = this.#file.readUInt16LE(0x10) === ET_EXEC && first.offset === 0;
    const unknown = [DT.hash, DT.versionDefinitions].some((tag) => this.#entry(tag) !== undefined);
    const isInFirst = this.#tableOffsets().every((offset) => offset < first.fileBytes);
    if (!isAlone || unknown || !isInFirst) throw new Error("the tables of the executable are laid out in a new way");
  }

  /** Tables end where the next one begins: the linker puts the names behind the symbols. */
  get symbolCount(): number {
    return (this.#strings - this.#symbols) / SYMBOL_BYTES;
  }

  symbol(index: number): { readonly name: string; readonly isImport: boolean } {
    const at = this.#symbols + index * SYMBOL_BYTES;
    const name = textAt(this.#file, this.#strings + this.#file.readUInt32LE(at));
    return { name, isImport: this.#file.readUInt16LE(at + 6) === 0 };
  }

  /** Symbols that relocations name. */
  relocated(): number[] {
    return [this.#relocations(), this.#jumpRelocations()].flatMap((table) =>
      Array.from({ length: table.length / RELOCATION_BYTES }, (_, index) =>
        table.readUInt32LE(index * RELOCATION_BYTES + 12),
      ),
    );
  }

  /** The file with these symbols, of which those from `firstExport` on can be found by name. */
  rebuilt(kept: readonly number[], firstExport: number): Buffer {
    const names = new Names();
    const places = new Map(kept.map((index, place) => [index, place]));
    const tables: [bigint, Buffer][] = [
      [
        DT.gnuHash,
        hashTable(
          kept.slice(firstExport).map((index) => this.symbol(index).name),
          firstExport,
        ),
      ],
      [DT.symbols, Buffer.concat(kept.map((index) => this.#renamed(index, names)))],
      [DT.symbolVersions, this.#versionsOf(kept)],
      [DT.neededVersions, this.#neededVersions(names)],
      [DT.relocations, renumbered(this.#relocations(), places)],
      [DT.jumpRelocations, renumbered(this.#jumpRelocations(), places)],
    ];
    const named = [DT.needed, DT.soname, DT.rpath, DT.runpath] as readonly bigint[];
    const values = new Map<DynamicEntry, number>();
    for (const entry of this.#entries) {
      if (named.includes(entry.tag)) values.set(entry, names.add(textAt(this.#file, this.#strings + entry.value)));
    }
    tables.push([DT.strings, names.table()]);
    return this.#withTables(tables, values, names.table().length);
  }

  #withTables(tables: readonly [bigint, Buffer][], values: Map<DynamicEntry, number>, stringBytes: number): Buffer {
    const first = this.#first();
    const parts: Buffer[] = [this.#file.subarray(0, Math.min(...this.#tableOffsets()))];
    let end = parts[0]?.length ?? 0;
    const setValue = (tag: bigint, value: number): void => {
      const entry = this.#entry(tag);
      if (entry !== undefined) values.set(entry, value);
    };
    for (const [tag, table] of tables) {
      const gap = Buffer.alloc(-end & 7);
      setValue(tag, first.address + end + gap.length);
      parts.push(gap, table);
      end += gap.length + table.length;
    }
    setValue(DT.stringBytes, stringBytes);
    const rest = Math.ceil(first.fileBytes / PAGE) * PAGE;
    const moved = rest - Math.ceil(end / PAGE) * PAGE;
    const result = Buffer.concat([...parts, Buffer.alloc(-end & (PAGE - 1)), this.#file.subarray(rest)]);
    for (const segment of this.#segments) {
      if (segment.offset >= rest) result.writeBigUInt64LE(BigInt(segment.offset - moved), segment.header + 8);
    }
    for (const at of [32, 40]) result.writeBigUInt64LE(BigInt(end), first.header + at);
    for (const [entry, value] of values) result.writeBigUInt64LE(BigInt(value), entry.at - moved + 8);
    return result;
  }

  #first(): Segment {
    const first = this.#segments.find(({ type }) => type === PT_LOAD);
    if (first === undefined) throw new Error("nothing of the executable is loaded");
    return first;
  }

  #entry(tag: bigint): DynamicEntry | undefined {
    return this.#entries.find((entry) => entry.tag === tag);
  }

  #value(tag: bigint): number {
    return this.#entry(tag)?.value ?? 0;
  }

  #offset(tag: bigint): number {
    return offsetOf(this.#segments, this.#value(tag));
  }

  #tableOffsets(): number[] {
    const tags = [
      DT.gnuHash,
      DT.symbols,
      DT.strings,
      DT.symbolVersions,
      DT.neededVersions,
      DT.relocations,
      DT.jumpRelocations,
    ];
    return tags.map((tag) => this.#offset(tag));
  }

  #relocations(): Buffer {
    const at = this.#offset(DT.relocations);
    return this.#file.subarray(at, at + this.#value(DT.relocationBytes));
  }

  #jumpRelocations(): Buffer {
    const at = this.#offset(DT.jumpRelocations);
    return this.#file.subarray(at, at + this.#value(DT.jumpRelocationBytes));
  }

  #renamed(index: number, names: Names): Buffer {
    const at = this.#symbols + index * SYMBOL_BYTES;
    const symbol = Buffer.from(this.#file.subarray(at, at + SYMBOL_BYTES));
    symbol.writeUInt32LE(names.add(this.symbol(index).name), 0);
    return symbol;
  }

  #versionsOf(kept: readonly number[]): Buffer {
    const at = this.#offset(DT.symbolVersions);
    return Buffer.concat(kept.map((index) => this.#file.subarray(at + index * 2, at + index * 2 + 2)));
  }

  /** Which versions of which libraries are asked for: a chain of libraries, each with a chain of versions. */
  #neededVersions(names: Names): Buffer {
    const start = this.#offset(DT.neededVersions);
    const table = Buffer.from(this.#file.subarray(start, this.#endOf(start)));
    const rename = (at: number): void => {
      table.writeUInt32LE(names.add(textAt(this.#file, this.#strings + table.readUInt32LE(at))), at);
    };
    let library = 0;
    for (let libraries = this.#value(DT.neededVersionCount); libraries > 0; libraries -= 1) {
      rename(library + 4);
      let version = library + table.readUInt32LE(library + 8);
      for (let versions = table.readUInt16LE(library + 2); versions > 0; versions -= 1) {
        rename(version + 8);
        version += table.readUInt32LE(version + 12);
      }
      library += table.readUInt32LE(library + 12);
    }
    return table;
  }

  #endOf(start: number): number {
    return Math.min(...this.#tableOffsets().filter((offset) => offset > start), this.#first().fileBytes);
  }
}

/** A table of names, each once. */
class Names {
  readonly #parts: Buffer[] = [Buffer.alloc(1)];
  readonly #places = new Map([["", 0]]);
  #length = 1;

  add(name: string): number {
    const known = this.#places.get(name);
    if (known !== undefined) return known;
    const place = this.#length;
    const text = Buffer.from(`${name}\0`);
    this.#places.set(name, place);
    this.#parts.push(text);
    this.#length += text.length;
    return place;
  }

  table(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

function renumbered(relocations: Buffer, places: ReadonlyMap<number, number>): Buffer {
  const result = Buffer.from(relocations);
  for (let at = 0; at < result.length; at += RELOCATION_BYTES) {
    const place = places.get(result.readUInt32LE(at + 12));
    if (place === undefined) throw new Error("a relocation names a symbol that is gone");
    result.writeUInt32LE(place, at + 12);
  }
  return result;
}

/** The table by which names are found, with one bucket and a filter that lets all pass: there are a handful of them. */
function hashTable(names: readonly string[], firstExport: number): Buffer {
  const table = Buffer.alloc(16 + 8 + 4 + names.length * 4);
  table.writeUInt32LE(1, 0);
  table.writeUInt32LE(firstExport, 4);
  table.writeUInt32LE(1, 8);
  table.writeUInt32LE(6, 12);
  table.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 16);
  table.writeUInt32LE(names.length === 0 ? 0 : firstExport, 24);
  for (const [index, name] of names.entries()) {
    const isLast = index === names.length - 1;
    table.writeUInt32LE(((gnuHash(name) & ~1) | (isLast ? 1 : 0)) >>> 0, 28 + index * 4);
  }
  return table;
}

function gnuHash(name: string): number {
  return Buffer.from(name).reduce((hash, byte) => (Math.imul(hash, 33) + byte) >>> 0, 5381);
}
