// Pure. A bounded reader of DER (X.690 section 10): just enough to look into a certificate without trusting its lengths.

/** One element: its identifier octet and where its content lies in the bytes that it was read from. */
export interface DerElement {
  readonly tag: number;
  /** First byte of the identifier. */
  readonly from: number;
  /** First byte of the content. */
  readonly start: number;
  /** First byte after the content. */
  readonly end: number;
}

/** Identifier octets used by certificates. */
export const DER = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
} as const;

const CONSTRUCTED = 0x20;
const LONG_TAG = 0x1f;
const LONG_LENGTH = 0x80;
/** 24 bits of length hold more than any certificate that is read. */
const MAX_LENGTH_OCTETS = 3;

/**
 * Reads the element that begins at `offset` and must end at or before `limit`. Returns undefined for whatever is not DER:
 * a cut element, the indefinite form, a length that is not the shortest, a tag above 30.
 */
export function readElement(bytes: Uint8Array, offset: number, limit: number): DerElement | undefined {
  const tag = bytes[offset];
  const first = bytes[offset + 1];
  if (tag === undefined || first === undefined || offset + 2 > limit || (tag & LONG_TAG) === LONG_TAG) return undefined;
  let length = first;
  let start = offset + 2;
  if (first >= LONG_LENGTH) {
    const octets = first - LONG_LENGTH;
    if (octets === 0 || octets > MAX_LENGTH_OCTETS || start + octets > limit) return undefined;
    length = 0;
    for (const octet of bytes.subarray(start, start + octets)) length = length * 256 + octet;
    start += octets;
    const shortest = length < LONG_LENGTH ? 0 : Math.ceil(Math.log2(length + 1) / 8);
    if (octets !== shortest) return undefined;
  }
  const end = start + length;
  return end > limit ? undefined : { tag, from: offset, start, end };
}

/**
 * Reads the elements inside a constructed element, at most `most` of them. Returns undefined when they do not fill it
 * exactly, are more, or the element is not constructed.
 */
export function readChildren(bytes: Uint8Array, parent: DerElement, most: number): DerElement[] | undefined {
  return (parent.tag & CONSTRUCTED) === 0 ? undefined : readSeries(bytes, parent.start, parent.end, most);
}

/** Reads elements that fill `start` to `end` exactly, at most `most` of them; undefined otherwise. */
export function readSeries(bytes: Uint8Array, start: number, end: number, most: number): DerElement[] | undefined {
  const elements: DerElement[] = [];
  for (let offset = start; offset < end;) {
    const element = readElement(bytes, offset, end);
    if (element === undefined || elements.length === most) return undefined;
    elements.push(element);
    offset = element.end;
  }
  return elements;
}

/** The content of an element. */
export function contentOf(bytes: Uint8Array, element: DerElement): Uint8Array {
  return bytes.subarray(element.start, element.end);
}
