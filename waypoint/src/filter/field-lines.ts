// Pure. Header fields as text, one line `name: value\r\n` each: taking lines out by name, and making new ones.

const COLON = ":";
const LINE_END = "\r\n";

/** A set of field names, told apart in any case. Compiled once for each snapshot. */
export class FieldNames {
  readonly #names: ReadonlySet<string>;
  /** Which lengths there are: most lines are passed over by this alone. */
  readonly #lengths: ReadonlySet<number>;

  constructor(names: Iterable<string>) {
    this.#names = new Set([...names].map((name) => name.toLowerCase()));
    this.#lengths = new Set([...this.#names].map((name) => name.length));
  }

  get size(): number {
    return this.#names.size;
  }

  /** Whether the name at `start` to `end` of `text` is one of them. */
  has(text: string, start: number, end: number): boolean {
    return this.#lengths.has(end - start) && this.#names.has(text.slice(start, end).toLowerCase());
  }
}

/** `fields` without the lines whose name is among `names`. */
export function withoutFields(fields: string, names: FieldNames): string {
  let out = "";
  let kept = 0;
  let start = 0;
  while (start < fields.length) {
    const lineEnd = fields.indexOf(LINE_END, start);
    const next = lineEnd < 0 ? fields.length : lineEnd + LINE_END.length;
    const colon = fields.indexOf(COLON, start);
    if (colon >= 0 && colon < next && names.has(fields, start, colon)) {
      out += fields.slice(kept, start);
      kept = next;
    }
    start = next;
  }
  return kept === 0 ? fields : out + fields.slice(kept);
}

/** The names of all lines, each once, lower case. */
export function fieldNames(fields: string): string[] {
  const names = new Set<string>();
  for (const line of fields.split(LINE_END)) {
    const colon = line.indexOf(COLON);
    if (colon > 0) names.add(line.slice(0, colon).toLowerCase());
  }
  return [...names];
}

/** The values of all lines of one name (lower case), without surrounding whitespace. */
export function fieldValues(fields: string, name: string): string[] {
  const values: string[] = [];
  for (const line of fields.split(LINE_END)) {
    const colon = line.indexOf(COLON);
    if (colon === name.length && line.slice(0, colon).toLowerCase() === name) values.push(line.slice(colon + 1).trim());
  }
  return values;
}

/**
 * One line. Text beyond ASCII goes as the bytes of its UTF-8, as the texts of resources are meant.
 *
 * @param name a token (see `routeFieldProblem`)
 * @param value without line ends (see `routeValueProblem`)
 */
export function fieldLine(name: string, value: string): string {
  return `${name}: ${asBytes(value.trim())}${LINE_END}`;
}

/** Text as one character for each byte of its UTF-8: the form that messages have here. */
export function asBytes(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}
