// Pure. Header fields between the two forms that they have in the waypoint: lines of text (`http/message.ts`), and names and values
// in turn, as the runtime's HTTP/2 takes and gives them.

const SP = 0x20;
const HTAB = 0x09;

/** Appends the fields of `lines` to `list`, names and values in turn. */
export function appendFields(list: string[], lines: string): void {
  let start = 0;
  while (start < lines.length) {
    const colon = lines.indexOf(":", start);
    const end = lines.indexOf("\r\n", start);
    if (colon < 0 || end < colon) return;
    list.push(lines.slice(start, colon), valueBetween(lines, colon + 1, end));
    start = end + 2;
  }
}

/** The fields of `lines` as an object, for those calls of the runtime that take nothing else. */
export function fieldObject(lines: string): Record<string, string | string[]> {
  const list: string[] = [];
  appendFields(list, lines);
  const fields: Record<string, string | string[]> = {};
  for (let i = 0; i < list.length; i += 2) {
    const name = (list[i] ?? "").toLowerCase();
    const value = list[i + 1] ?? "";
    const before = fields[name];
    if (before === undefined) fields[name] = value;
    else if (typeof before === "string") fields[name] = [before, value];
    else before.push(value);
  }
  return fields;
}

/** HTTP/2 forbids the whitespace around a value that HTTP/1.1 allows. Only these two: a value may begin with any other byte. */
function valueBetween(text: string, start: number, end: number): string {
  let from = start;
  let to = end;
  while (from < to && isBlank(text.charCodeAt(from))) from += 1;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1;
  return text.slice(from, to);
}

function isBlank(character: number): boolean {
  return character === SP || character === HTAB;
}
