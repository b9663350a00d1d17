// Pure. What is done to texts of HTTP/1.1 before a parser gets them: bytes that parsers disagree about, fields that change the meaning.
import * as fc from "fast-check";

const TROUBLE = ["\r", "\n", "\r\n", "\0", " ", "\t", ":", ";", ",", "0", "5", "F", "-", "_", "a", "\u00e9", "\u007f"];
const FIELDS = [
  "Content-Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Connection: close\r\n",
  "Connection: upgrade\r\n",
  "Upgrade: h2c\r\n",
  "Upgrade: websocket\r\n",
  "Host: other\r\n",
  "x-culvert-via: waypoint.default/reviews.default\r\n",
];

/** One change. */
export interface Mutation {
  /** Where, as a share of the text. */
  readonly at: number;
  readonly cut: number;
  readonly insert: string;
}

/** Any change. */
export const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  cut: fc.constantFrom(0, 0, 1, 2),
  insert: fc.oneof(fc.constantFrom(...TROUBLE), fc.constantFrom(...FIELDS), fc.constant("")),
});

/** Changes a text: fields go where a line begins, all else anywhere. */
export function mutate(text: string, mutations: readonly Mutation[]): string {
  let result = text;
  for (const { at, cut, insert } of mutations) {
    const end = result.search(/\{FIN\}$/);
    const length = end < 0 ? result.length : end;
    let position = Math.floor(at * length);
    if (insert.endsWith("\r\n") && insert !== "\r\n") position = Math.max(0, result.indexOf("\r\n", position)) + 2;
    position = Math.min(position, length);
    result = result.slice(0, position) + insert + result.slice(Math.min(length, position + cut), undefined);
  }
  return result;
}
