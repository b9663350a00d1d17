// Pure. Short frames of WebSocket (RFC 6455 section 5.2), whole messages of fewer than 126 bytes.

/** One message. */
export interface Frame {
  readonly isText: boolean;
  readonly payload: Buffer;
}

/** A text message. */
export function textFrame(text: string): Frame {
  return { isText: true, payload: Buffer.from(text, "utf8") };
}

/** A binary message. */
export function binaryFrame(payload: Buffer): Frame {
  return { isText: false, payload };
}

const MASK = Buffer.from([1, 2, 3, 4]);

function opcode({ isText }: Frame): number {
  return 0x80 | (isText ? 1 : 2);
}

function masked(payload: Buffer): Buffer {
  return Buffer.from(payload.map((byte, index) => byte ^ (MASK[index % 4] ?? 0)));
}

/** As a client sends it. */
export function maskedFrame(frame: Frame): Buffer {
  return Buffer.concat([Buffer.from([opcode(frame), 0x80 | frame.payload.length]), MASK, masked(frame.payload)]);
}

/** As a server sends it. */
export function plainFrame(frame: Frame): Buffer {
  return Buffer.concat([Buffer.from([opcode(frame), frame.payload.length]), frame.payload]);
}

/** The frame of that number that came from a server; `undefined` while it is not whole. */
export function unmaskedFrame(bytes: Buffer, number: number): Frame | undefined {
  const [first, length = 0] = bytes;
  if (first === undefined || bytes.length < 2 + length) return undefined;
  if (number > 0) return unmaskedFrame(bytes.subarray(2 + length), number - 1);
  return { isText: (first & 15) === 1, payload: bytes.subarray(2, 2 + length) };
}

/** The first frame that came from a client, and its length in all. */
export function clientFrame(bytes: Buffer): { readonly frame: Frame; readonly length: number } | undefined {
  const [first, second = 0] = bytes;
  const length = 6 + (second & 127);
  if (first === undefined || bytes.length < length) return undefined;
  const mask = bytes.subarray(2, 6);
  const payload = Buffer.from(bytes.subarray(6, length).map((byte, index) => byte ^ (mask[index % 4] ?? 0)));
  return { frame: { isText: (first & 15) === 1, payload }, length };
}
