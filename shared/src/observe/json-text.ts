// Pure. Strings as JSON text for log lines: one event stays one line, no terminal obeys it, no field is endless.

/** The most bytes of one logged field that comes from outside. Beyond it a field is cut and marked. */
export const MAX_FIELD_BYTES = 256;

/** The most bytes of a text that Culvert composes itself (message, error), which may name a file, a field and a value. */
export const MAX_TEXT_BYTES = 1024;

/** Printable ASCII without `"` and `\`: needs no escape, and each character is a byte. */
const PLAIN = /^[ !#-[\]-~]*$/;

/**
 * What JSON allows but a terminal, a log shipper or an eye may take for something else: DEL and C1 controls, line and
 * paragraph separators, zero-width and bidirectional controls, byte-order mark.
 */
const TREACHEROUS = /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

const CUT_MARK = "\u2026";

/** A string as a JSON string with its quotes, cut to `maxBytes` of UTF-8. */
export function jsonText(text: string, maxBytes: number = MAX_FIELD_BYTES): string {
  if (text.length <= maxBytes && PLAIN.test(text)) return `"${text}"`;
  return JSON.stringify(cut(text, maxBytes)).replace(TREACHEROUS, escapeUnit);
}

/** Whether a text of at most `maxBytes` may stand between quotes as it is. */
export function isPlain(text: string, maxBytes: number = MAX_FIELD_BYTES): boolean {
  return text === "" || (text.length <= maxBytes && PLAIN.test(text));
}

function cut(text: string, maxBytes: number): string {
  // Bounded work whatever the length: no more UTF-16 units than bytes can be kept.
  const head = text.slice(0, maxBytes + 1);
  if (head.length === text.length && Buffer.byteLength(head) <= maxBytes) return text;
  let bytes = 0;
  let end = 0;
  for (const character of head) {
    bytes += Buffer.byteLength(character);
    if (bytes > maxBytes - CUT_MARK_BYTES) break;
    end += character.length;
  }
  return head.slice(0, end) + CUT_MARK;
}

const CUT_MARK_BYTES = Buffer.byteLength(CUT_MARK);

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
