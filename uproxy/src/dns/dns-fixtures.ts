// Pure. For tests: DNS messages written by hand, and answers read into what they say.
import { HEADER_BYTES, TYPE_A } from "./message.ts";

/** What a query is made of; what is not named is usual. */
export interface QueryParts {
  readonly id?: number;
  readonly type?: number;
  readonly class?: number;
  readonly flags?: number;
  readonly counts?: readonly [number, number, number, number];
  /** Size that is offered by EDNS; without it there is no EDNS. */
  readonly udpBytes?: number;
  readonly ednsVersion?: number;
  readonly dnssec?: boolean;
  readonly options?: Buffer;
  /** Bytes after everything. */
  readonly tail?: Buffer;
}

/** The labels of a name, without compression. */
export function nameBytes(name: string): Buffer {
  const labels = name === "" ? [] : name.split(".");
  return Buffer.concat([
    ...labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, "latin1")]),
    Buffer.from([0]),
  ]);
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [index, value] of values.entries()) bytes.writeUInt16BE(value, index * 2);
  return bytes;
}

/** A query. */
export function query(name: string, parts: QueryParts = {}): Buffer {
  const { id = 0x1234, type = TYPE_A, flags = 0x0100, udpBytes, options = Buffer.alloc(0) } = parts;
  const counts = parts.counts ?? [1, 0, 0, udpBytes === undefined ? 0 : 1];
  const opt =
    udpBytes === undefined
      ? Buffer.alloc(0)
      : Buffer.concat([
          Buffer.from([0]),
          words(41, udpBytes),
          Buffer.from([0, parts.ednsVersion ?? 0]),
          words(parts.dnssec === true ? 0x8000 : 0, options.length),
          options,
        ]);
  return Buffer.concat([
    words(id, flags, ...counts),
    nameBytes(name),
    words(type, parts.class ?? 1),
    opt,
    parts.tail ?? Buffer.alloc(0),
  ]);
}

/** A record of a reply. */
export interface RecordParts {
  readonly name?: Buffer;
  readonly type: number;
  readonly ttl: number;
  readonly data: Buffer;
}

/** A reply to `asked`, which must have nothing after its question. */
export function replyTo(
  asked: Buffer,
  parts: {
    readonly flags?: number;
    readonly answers?: readonly RecordParts[];
    readonly authorities?: readonly RecordParts[];
    readonly additional?: readonly RecordParts[];
  } = {},
): Buffer {
  const { answers = [], authorities = [], additional = [] } = parts;
  const records = [...answers, ...authorities, ...additional].map(({ name, type, ttl, data }) =>
    Buffer.concat([
      name ?? Buffer.from([0xc0, HEADER_BYTES]),
      words(type, 1, ttl >>> 16, ttl & 0xffff, data.length),
      data,
    ]),
  );
  return Buffer.concat([
    asked.subarray(0, 2),
    words(parts.flags ?? 0x8180, 1, answers.length, authorities.length, additional.length),
    asked.subarray(HEADER_BYTES),
    ...records,
  ]);
}

/** The data of a SOA record whose minimum is `minimum`. */
export function soaData(minimum: number): Buffer {
  return Buffer.concat([
    nameBytes("ns"),
    nameBytes("admin"),
    words(0, 1, 0, 2, 0, 3, 0, 4, minimum >>> 16, minimum & 0xffff),
  ]);
}

/** What an answer of ours says. */
export interface ReadAnswer {
  readonly id: number;
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  /** Addresses as lists of bytes, in their order, joined by dots. */
  readonly addresses: readonly string[];
  readonly hasEdns: boolean;
}

/** Reads an answer of one question, answers without names of their own, and OPT at most. */
export function readAnswer(reply: Buffer): ReadAnswer {
  const flags = reply.readUInt16BE(2);
  const addresses: string[] = [];
  let at = HEADER_BYTES;
  if (reply.readUInt16BE(4) === 1) {
    while (reply[at] !== 0) at += 1 + (reply[at] ?? 0);
    at += 5;
  }
  for (let count = reply.readUInt16BE(6); count > 0; count -= 1) {
    const length = reply.readUInt16BE(at + 10);
    addresses.push([...reply.subarray(at + 12, at + 12 + length)].join("."));
    at += 12 + length;
  }
  return {
    id: reply.readUInt16BE(0),
    rcode: (flags & 0xf) | (reply.readUInt16BE(10) === 1 ? (reply[at + 5] ?? 0) << 4 : 0),
    authoritative: (flags & 0x0400) !== 0,
    truncated: (flags & 0x0200) !== 0,
    addresses,
    hasEdns: reply.readUInt16BE(10) === 1,
  };
}
