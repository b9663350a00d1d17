// Pure. Durations and sizes as configuration writes them: `250ms 10s 5m 24h`, `64KiB 16MiB`.

const MILLISECONDS: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

const BYTES: ReadonlyMap<string, number> = new Map([
  ["B", 1],
  ["KiB", 1024],
  ["MiB", 1024 ** 2],
  ["GiB", 1024 ** 3],
]);

/** Reads a duration: a whole number with `ms`, `s`, `m` or `h`. Milliseconds; `undefined` when it is none. */
export function parseDuration(text: string): number | undefined {
  return parse(text, MILLISECONDS);
}

/** Reads a size: a whole number with `B`, `KiB`, `MiB` or `GiB`. Bytes; `undefined` when it is none. */
export function parseSize(text: string): number | undefined {
  return parse(text, BYTES);
}

/** Writes a duration in the largest unit that keeps it whole. */
export function formatDuration(milliseconds: number): string {
  return format(milliseconds, MILLISECONDS);
}

/** Writes a size in the largest unit that keeps it whole. */
export function formatSize(bytes: number): string {
  return format(bytes, BYTES);
}

function parse(text: string, units: ReadonlyMap<string, number>): number | undefined {
  const match = /^(\d{1,15})([A-Za-z]{1,3})$/.exec(text);
  const unit = units.get(match?.[2] ?? "");
  if (match === null || unit === undefined) return undefined;
  const value = Number(match[1]) * unit;
  return Number.isSafeInteger(value) ? value : undefined;
}

function format(value: number, units: ReadonlyMap<string, number>): string {
  const fitting = [...units].findLast(([, size]) => value >= size && value % size === 0);
  const [name, size] = fitting ?? [...units][0] ?? ["", 1];
  return `${value / size}${name}`;
}
