// Pure. DNS messages (RFC 1035 section 4, RFC 6891), as far as a proxy has to read them: the header, one question, whether
// EDNS is spoken, and where the lifetimes of records stand. Everything else is bytes. No compression pointer is ever
// followed, so there is none to loop in; nothing throws, whatever the bytes are.

import { parseIp, type Ip } from "@culvert/shared/net/ip.ts";

/** Bytes of a header. */
export const HEADER_BYTES = 12;
/** Largest message: what the length prefix of TCP can say. */
export const MAX_MESSAGE_BYTES = 65_535;

export const TYPE_A = 1;
export const TYPE_SOA = 6;
export const TYPE_AAAA = 28;
export const TYPE_OPT = 41;
export const CLASS_IN = 1;
export const OPCODE_QUERY = 0;

export const RCODE = { noError: 0, formErr: 1, servFail: 2, nxDomain: 3, refused: 5, badVers: 16 } as const;

const FLAG_RESPONSE = 0x8000;
const FLAG_TRUNCATED = 0x0200;
const FLAG_RECURSION_DESIRED = 0x0100;
const MAX_LABEL_BYTES = 63;
const MAX_NAME_BYTES = 255;
/** Type and class. */
const QUESTION_TAIL_BYTES = 4;
/** Type, class, lifetime and length. */
const RECORD_HEAD_BYTES = 10;

/** The question of a message. */
export interface Question {
  /** In lower case, without the final dot. `undefined` when a label has bytes that no host name has. */
  readonly name: string | undefined;
  readonly type: number;
  readonly class: number;
  /** Offset of the byte after it. */
  readonly end: number;
}

/** What the sender says by EDNS. */
export interface Edns {
  readonly udpBytes: number;
  readonly version: number;
  /** DO: wants signatures. */
  readonly dnssec: boolean;
  readonly hasOptions: boolean;
}

/** A request of a client. */
export interface Query {
  readonly id: number;
  readonly opcode: number;
  /** The second word of the header. */
  readonly flags: number;
  /** `undefined` when there is not exactly one, or, in other operations than queries, none that can be read. */
  readonly question: Question | undefined;
  readonly edns: Edns | undefined;
  /** A query of one question with nothing beside it but EDNS: one that we can answer ourselves. */
  readonly isPlain: boolean;
}

/**
 * The bytes of a recursive question for one type of a host name, with id 0 and without EDNS; `undefined` for what is none. A
 * forwarder gives it an id.
 */
export function questionFor(host: string, type: number): Buffer | undefined {
  const labels = host.endsWith(".") ? host.slice(0, -1).split(".") : host.split(".");
  if (labels.some((label) => !/^[\w-]+$/.test(label) || label.length > MAX_LABEL_BYTES)) return undefined;
  const name = Buffer.from(
    `${labels.map((label) => `${String.fromCharCode(label.length)}${label}`).join("")}\0`,
    "latin1",
  );
  if (name.length > MAX_NAME_BYTES) return undefined;
  const bytes = Buffer.alloc(HEADER_BYTES + name.length + QUESTION_TAIL_BYTES);
  bytes.writeUInt16BE(FLAG_RECURSION_DESIRED, 2);
  bytes.writeUInt16BE(1, 4);
  name.copy(bytes, HEADER_BYTES);
  bytes.writeUInt16BE(type, HEADER_BYTES + name.length);
  bytes.writeUInt16BE(CLASS_IN, HEADER_BYTES + name.length + 2);
  return bytes;
}

/** Reads a request: `"malformed"` for a query whose sender is to be told so, `undefined` for what deserves no answer. */
export function readQuery(bytes: Buffer): Query | "malformed" | undefined {
  if (bytes.length < HEADER_BYTES || bytes.length > MAX_MESSAGE_BYTES) return undefined;
  const flags = bytes.readUInt16BE(2);
  // Answering an answer is how two servers keep each other busy for ever.
  if ((flags & FLAG_RESPONSE) !== 0) return undefined;
  const opcode = opcodeOf(flags);
  const question = bytes.readUInt16BE(4) === 1 ? readQuestion(bytes) : undefined;
  const head = { id: bytes.readUInt16BE(0), opcode, flags, question };
  const rest = { edns: undefined, isPlain: false };
  if (opcode !== OPCODE_QUERY || bytes.readUInt16BE(4) !== 1) return { ...head, ...rest };
  if (question === undefined) return "malformed";
  if (bytes.readUInt16BE(6) !== 0 || bytes.readUInt16BE(8) !== 0) return { ...head, ...rest };
  const additional = bytes.readUInt16BE(10);
  if (additional === 0) return { ...head, edns: undefined, isPlain: question.end === bytes.length };
  const edns = readEdns(bytes, question.end);
  if (edns === "malformed") return edns;
  // A signature, for example: what it covers is only answered by who can check it.
  if (additional > 1 || edns === undefined) return { ...head, edns, isPlain: false };
  return { ...head, edns, isPlain: true };
}

/** Whether `reply` answers the request `asked`, of which `query` was read, sent under `id`. */
export function isReplyTo(reply: Buffer, id: number, asked: Buffer, query: Query): boolean {
  if (reply.length < HEADER_BYTES || reply.readUInt16BE(0) !== id) return false;
  const flags = reply.readUInt16BE(2);
  if ((flags & FLAG_RESPONSE) === 0 || opcodeOf(flags) !== query.opcode) return false;
  const { question } = query;
  const questions = reply.readUInt16BE(4);
  // Who could not read the question, or answers an update, may leave it out; nobody may answer another one.
  if (question === undefined || questions === 0) return questions === 0 ? mayOmit(query, flags) : true;
  return questions === 1 && sameQuestion(reply, asked, question.end);
}

/** The response code, without the part of it that EDNS adds. */
export function rcodeOf(reply: Buffer): number {
  return reply.readUInt16BE(2) & 0xf;
}

export function isTruncated(reply: Buffer): boolean {
  return (reply.readUInt16BE(2) & FLAG_TRUNCATED) !== 0;
}

/** How long a reply may be kept, and where in it the lifetimes stand that count down meanwhile. */
export interface Lifetimes {
  readonly seconds: number;
  readonly offsets: readonly number[];
}

/**
 * The lifetimes of a reply: the least of its records', and for a name or type that is not there that of the zone's SOA
 * record (RFC 2308 section 5). `undefined` for a reply that says none, or that is not well-formed.
 */
export function readLifetimes(reply: Buffer): Lifetimes | undefined {
  const question = readQuestion(reply);
  if (question === undefined || reply.readUInt16BE(4) !== 1) return undefined;
  const answers = reply.readUInt16BE(6);
  const records = answers + reply.readUInt16BE(8) + reply.readUInt16BE(10);
  const offsets: number[] = [];
  let seconds = Number.POSITIVE_INFINITY;
  let isNegative = answers === 0;
  let at = question.end;
  for (let index = 0; index < records; index += 1) {
    const head = skipName(reply, at);
    if (head === undefined || head + RECORD_HEAD_BYTES > reply.length) return undefined;
    const type = reply.readUInt16BE(head);
    const end = head + RECORD_HEAD_BYTES + reply.readUInt16BE(head + 8);
    if (end > reply.length) return undefined;
    at = end;
    // The lifetime of OPT is flags.
    if (type === TYPE_OPT) continue;
    offsets.push(head + 4);
    seconds = Math.min(seconds, lifetime(reply.readUInt32BE(head + 4)));
    if (type !== TYPE_SOA || index < answers) continue;
    if (end - head < RECORD_HEAD_BYTES + 4) return undefined;
    seconds = Math.min(seconds, lifetime(reply.readUInt32BE(end - 4)));
    isNegative = false;
  }
  if (at !== reply.length || isNegative || !Number.isFinite(seconds)) return undefined;
  return { seconds, offsets };
}

/** The addresses of one type (A or AAAA) among the answers of a reply, as far as it is well-formed. */
export function readAddresses(reply: Buffer, type: number): Ip[] {
  const addresses: Ip[] = [];
  let at = readQuestion(reply)?.end;
  for (let left = at === undefined ? 0 : reply.readUInt16BE(6); left > 0; left -= 1) {
    const head = at === undefined ? undefined : skipName(reply, at);
    if (head === undefined || head + RECORD_HEAD_BYTES > reply.length) break;
    at = head + RECORD_HEAD_BYTES + reply.readUInt16BE(head + 8);
    if (at > reply.length) break;
    // Whose name it is is for the resolver to say: it has followed the aliases.
    if (reply.readUInt16BE(head) !== type) continue;
    const ip = ipOf(reply.subarray(head + RECORD_HEAD_BYTES, at), type);
    if (ip !== undefined) addresses.push(ip);
  }
  return addresses;
}

function ipOf(bytes: Buffer, type: number): Ip | undefined {
  if (bytes.length !== (type === TYPE_A ? 4 : 16)) return undefined;
  if (type === TYPE_A) return parseIp(bytes.join("."));
  return parseIp(Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(":"));
}

function opcodeOf(flags: number): number {
  return (flags >> 11) & 0xf;
}

function readQuestion(bytes: Buffer): Question | undefined {
  let at = HEADER_BYTES;
  let name: string | undefined = "";
  for (;;) {
    const length = bytes[at];
    // Nothing stands before the question that a pointer could point to.
    if (length === undefined || length > MAX_LABEL_BYTES) return undefined;
    at += 1;
    if (length === 0) break;
    if (at + length - HEADER_BYTES >= MAX_NAME_BYTES) return undefined;
    const label = bytes.toString("latin1", at, at + length);
    at += length;
    if (!/^[\w-]+$/.test(label)) name = undefined;
    else if (name !== undefined) name = name === "" ? label : `${name}.${label}`;
  }
  const end = at + QUESTION_TAIL_BYTES;
  if (end > bytes.length) return undefined;
  return { name: name?.toLowerCase(), type: bytes.readUInt16BE(at), class: bytes.readUInt16BE(at + 2), end };
}

/** The OPT record at `at`; `undefined` when another record stands there, or something follows it. */
function readEdns(bytes: Buffer, at: number): Edns | "malformed" | undefined {
  if (at + 1 + RECORD_HEAD_BYTES > bytes.length) return "malformed";
  if (bytes[at] !== 0 || bytes.readUInt16BE(at + 1) !== TYPE_OPT) return undefined;
  const optionBytes = bytes.readUInt16BE(at + 9);
  const end = at + 1 + RECORD_HEAD_BYTES + optionBytes;
  if (end > bytes.length) return "malformed";
  if (end < bytes.length) return undefined;
  return {
    udpBytes: bytes.readUInt16BE(at + 3),
    version: bytes[at + 6] ?? 0,
    dnssec: ((bytes[at + 7] ?? 0) & 0x80) !== 0,
    hasOptions: optionBytes > 0,
  };
}

/** The offset after a name: labels, and at most one pointer, which ends it. */
function skipName(bytes: Buffer, start: number): number | undefined {
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    if (length > MAX_LABEL_BYTES) return undefined;
    at += 1 + length;
  }
}

function mayOmit(query: Query, replyFlags: number): boolean {
  return query.question === undefined || query.opcode !== OPCODE_QUERY || (replyFlags & 0xf) !== RCODE.noError;
}

/** The same name in any case, type and class. */
function sameQuestion(reply: Buffer, asked: Buffer, end: number): boolean {
  if (reply.length < end) return false;
  for (let at = HEADER_BYTES; at < end; at += 1) {
    const [a = 0, b = 0] = [reply[at], asked[at]];
    if (a !== b && (at >= end - QUESTION_TAIL_BYTES || folded(a) !== folded(b))) return false;
  }
  return true;
}

function folded(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

/** A lifetime with its highest bit set counts as zero (RFC 2181 section 8). */
function lifetime(seconds: number): number {
  return seconds > 0x7fff_ffff ? 0 : seconds;
}
