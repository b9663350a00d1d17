// Pure. The DNS answers that are our own: addresses of mesh names, "no such data", and errors.
import { ipBytes, ipFamily, type Ip } from "@culvert/shared/net/ip.ts";
import { CLASS_IN, HEADER_BYTES, MAX_MESSAGE_BYTES, RCODE, TYPE_A, TYPE_AAAA, TYPE_OPT } from "./message.ts";
import type { Query } from "./message.ts";

/** Lifetime of our answers in seconds, as ztunnel's: so long may an app hold on to what has moved. */
export const ANSWER_TTL_SECONDS = 30;

/** What every resolver takes by UDP without EDNS (RFC 1035 section 2.3.4). */
const PLAIN_UDP_BYTES = 512;
/** Most that we send by UDP and say that we take: what passes every network in one piece (DNS flag day 2020). */
const MOST_UDP_BYTES = 1232;
/** A record without its address: a pointer to the question's name, type, class, lifetime, length. */
const RECORD_BYTES = 12;
const OPT_BYTES = 11;
/** Bytes of an extended error (RFC 8914) before its text. */
const EXTENDED_ERROR_BYTES = 6;
const EXTENDED_ERROR = 15;

const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursion: 0x0080 } as const;
/** What an answer repeats of its query: operation, RD, CD. */
const COPIED_FLAGS = 0x7910;

/** How the answer goes back: by UDP it has to fit one datagram. */
export type Transport = "udp" | "tcp";

/** Why something failed, for people who ask with `dig`: a code of RFC 8914, and words. */
export interface ExtendedError {
  readonly code: number;
  readonly text: string;
}

/**
 * Answers a question for addresses, authoritatively, with those of the family that was asked for; without any, that the name has none of this type. What does not
 * fit is left out and the answer marked as truncated, so that the client asks again by TCP.
 */
export function addressAnswer(asked: Buffer, query: Query, addresses: readonly Ip[], transport: Transport): Buffer {
  const question = asked.subarray(HEADER_BYTES, query.question?.end);
  const type = query.question?.type === TYPE_AAAA ? TYPE_AAAA : TYPE_A;
  const recordBytes = RECORD_BYTES + (type === TYPE_AAAA ? 16 : 4);
  const around = HEADER_BYTES + question.length + (query.edns === undefined ? 0 : OPT_BYTES);
  const room = Math.floor((mostBytes(query, transport) - around) / recordBytes);
  const fitting = addresses.filter((address) => ipFamily(address) === (type === TYPE_A ? 4 : 6));
  const count = Math.min(fitting.length, room);
  const isTruncated = count < fitting.length && transport === "udp";
  const reply = Buffer.alloc(around + count * recordBytes);
  const flags = FLAG.authoritative | (isTruncated ? FLAG.truncated : 0);
  writeHead(reply, query, flags | RCODE.noError, { questions: 1, answers: count });
  let at = HEADER_BYTES;
  at += question.copy(reply, at);
  for (const address of fitting.slice(0, count)) {
    const bytes = ipBytes(address);
    reply.writeUInt16BE(0xc000 | HEADER_BYTES, at);
    reply.writeUInt16BE(type, at + 2);
    reply.writeUInt16BE(CLASS_IN, at + 4);
    reply.writeUInt32BE(ANSWER_TTL_SECONDS, at + 6);
    reply.writeUInt16BE(bytes.length, at + 10);
    reply.set(bytes, at + RECORD_BYTES);
    at += recordBytes;
  }
  if (query.edns !== undefined) writeOpt(reply, at, query, 0);
  return reply;
}

/** Answers with an error, and with its reason to who speaks EDNS. */
export function errorAnswer(asked: Buffer, query: Query, rcode: number, reason?: ExtendedError): Buffer {
  const question = query.question === undefined ? undefined : asked.subarray(HEADER_BYTES, query.question.end);
  const hasReason = query.edns !== undefined && reason !== undefined;
  const text = Buffer.from(hasReason ? reason.text : "");
  const reasonBytes = hasReason ? EXTENDED_ERROR_BYTES + text.length : 0;
  const optBytes = query.edns === undefined ? 0 : OPT_BYTES + reasonBytes;
  const reply = Buffer.alloc(HEADER_BYTES + (question?.length ?? 0) + optBytes);
  writeHead(reply, query, rcode & 0xf, { questions: question === undefined ? 0 : 1, answers: 0 });
  question?.copy(reply, HEADER_BYTES);
  if (query.edns === undefined) return reply;
  const at = HEADER_BYTES + (question?.length ?? 0);
  writeOpt(reply, at, query, rcode >> 4);
  if (!hasReason) return reply;
  reply.writeUInt16BE(reasonBytes, at + 9);
  reply.writeUInt16BE(EXTENDED_ERROR, at + OPT_BYTES);
  reply.writeUInt16BE(2 + text.length, at + OPT_BYTES + 2);
  reply.writeUInt16BE(reason.code, at + OPT_BYTES + 4);
  text.copy(reply, at + OPT_BYTES + EXTENDED_ERROR_BYTES);
  return reply;
}

/** Says "format error" to the sender of a query of which no more than the header could be read. */
export function malformedAnswer(asked: Buffer): Buffer {
  const reply = Buffer.alloc(HEADER_BYTES);
  reply.writeUInt16BE(asked.readUInt16BE(0), 0);
  reply.writeUInt16BE(FLAG.response | (asked.readUInt16BE(2) & COPIED_FLAGS) | RCODE.formErr, 2);
  return reply;
}

function mostBytes({ edns }: Query, transport: Transport): number {
  if (transport === "tcp") return MAX_MESSAGE_BYTES;
  return Math.min(Math.max(edns?.udpBytes ?? 0, PLAIN_UDP_BYTES), MOST_UDP_BYTES);
}

function writeHead(
  reply: Buffer,
  query: Query,
  flags: number,
  counts: { readonly questions: number; readonly answers: number },
): void {
  reply.writeUInt16BE(query.id, 0);
  reply.writeUInt16BE(FLAG.response | FLAG.recursion | (query.flags & COPIED_FLAGS) | flags, 2);
  reply.writeUInt16BE(counts.questions, 4);
  reply.writeUInt16BE(counts.answers, 6);
  reply.writeUInt16BE(query.edns === undefined ? 0 : 1, 10);
}

/** Our OPT record: no options, DO as it was asked (RFC 3225 section 3). */
function writeOpt(reply: Buffer, at: number, query: Query, highRcode: number): void {
  reply.writeUInt16BE(TYPE_OPT, at + 1);
  reply.writeUInt16BE(MOST_UDP_BYTES, at + 3);
  reply.writeUInt8(highRcode, at + 5);
  reply.writeUInt16BE(query.edns?.dnssec === true ? 0x8000 : 0, at + 7);
}
