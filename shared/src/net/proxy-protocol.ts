// Pure. The PROXY protocol, version 2 (HAProxy's specification, sections 2.2 to 2.6): a header in front of a connection's bytes
// that says for whom a proxy has opened it. Read strictly: what is refused was no such header, or one that has been damaged.
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { crc32c } from "./crc32c.ts";
import type { Endpoint } from "./endpoint.ts";
import { ipBytes, ipFamily, parseIp } from "./ip.ts";
import type { Ip } from "./ip.ts";

/** Longest header that is read. Addresses take 36 bytes; what proxies say of a client's certificate takes some hundreds. */
export const MAX_PROXY_HEADER = 4096;

/** A field of the header, by its type. */
export interface ProxyField {
  readonly type: number;
  readonly value: Uint8Array;
}

/** Who called, and the SPIFFE ID that the caller has proved: of the range for applications, as ztunnel sends it. */
export const FIELD_SPIFFE_ID = 0xd0;
/** Host name of the service that the caller asked for. */
export const FIELD_SERVICE = 0xd1;

/** What a header says. */
export interface ProxyHeader {
  /** `undefined`: the proxy speaks for itself (LOCAL), or for a client without an IP address. */
  readonly source: Endpoint | undefined;
  readonly fields: readonly ProxyField[];
  /** Length of the header in bytes. */
  readonly consumed: number;
}

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const FIXED_BYTES = 16;
const VERSION_LOCAL = 0x20;
const VERSION_PROXY = 0x21;
const UNSPECIFIED = 0x00;
const TCP4 = 0x11;
const TCP6 = 0x21;
const UNIX_STREAM = 0x31;
const FIELD_CRC32C = 0x03;

/** Bytes of the two addresses and ports, by the byte that says which they are. */
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [UNSPECIFIED, 0],
  [TCP4, 12],
  [TCP6, 36],
  [UNIX_STREAM, 216],
]);

/** Reads the header at the front of `bytes`; `undefined` while more are needed. Fails with PROXY_HEADER_MALFORMED. */
export function readProxyHeader(bytes: Buffer): ProxyHeader | Failure | undefined {
  const known = Math.min(bytes.length, SIGNATURE.length);
  if (bytes.compare(SIGNATURE, 0, known, 0, known) !== 0) {
    const v1 = bytes.toString("latin1", 0, 6) === "PROXY ";
    return malformed(v1 ? "version 1, expected version 2" : "the connection does not begin with one");
  }
  if (bytes.length < FIXED_BYTES) return undefined;
  const command = bytes.readUInt8(12);
  if (command !== VERSION_LOCAL && command !== VERSION_PROXY) {
    return malformed(`version and command 0x${command.toString(16)}, expected 0x20 or 0x21`);
  }
  const consumed = FIXED_BYTES + bytes.readUInt16BE(14);
  if (consumed > MAX_PROXY_HEADER) return malformed(`${consumed} bytes, expected at most ${MAX_PROXY_HEADER}`);
  if (bytes.length < consumed) return undefined;
  // What a LOCAL header holds beside is to be passed over unread.
  if (command === VERSION_LOCAL) return { source: undefined, fields: [], consumed };

  const family = bytes.readUInt8(13);
  const addressBytes = ADDRESS_BYTES.get(family);
  if (addressBytes === undefined) return malformed(`address family and protocol 0x${family.toString(16)}`);
  const end = FIXED_BYTES + addressBytes;
  if (end > consumed) return malformed("too short for its addresses");
  const fields = readFields(bytes.subarray(end, consumed));
  if (fields === undefined) return malformed("a field runs over the end");
  const damage = checkSum(bytes.subarray(0, consumed), fields);
  if (damage !== undefined) return malformed(damage);
  return { source: sourceOf(bytes, family), fields, consumed };
}

function readFields(bytes: Buffer): ProxyField[] | undefined {
  const fields: ProxyField[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + 3 > bytes.length) return undefined;
    const end = at + 3 + bytes.readUInt16BE(at + 1);
    if (end > bytes.length) return undefined;
    fields.push({ type: bytes.readUInt8(at), value: bytes.subarray(at + 3, end) });
    at = end;
  }
  return fields;
}

/** What is wrong with the checksum; `undefined` when there is none, or when it holds. */
function checkSum(header: Buffer, fields: readonly ProxyField[]): string | undefined {
  const sums = fields.filter(({ type }) => type === FIELD_CRC32C);
  const [sum] = sums;
  if (sum === undefined) return undefined;
  if (sums.length > 1 || sum.value.length !== 4) return "expected one CRC-32C of 4 bytes";
  const copy = Buffer.from(header);
  const at = sum.value.byteOffset - header.byteOffset;
  copy.fill(0, at, at + 4);
  return crc32c(copy) === header.readUInt32BE(at) ? undefined : "the CRC-32C does not hold";
}

function sourceOf(bytes: Buffer, family: number): Endpoint | undefined {
  const size = family === TCP4 ? 4 : 16;
  if (family !== TCP4 && family !== TCP6) return undefined;
  const ip = ipOf(bytes.subarray(FIXED_BYTES, FIXED_BYTES + size));
  const port = bytes.readUInt16BE(FIXED_BYTES + 2 * size);
  // Port 0 is how a proxy says that it does not know.
  return ip === undefined || port === 0 ? undefined : { ip, port };
}

function ipOf(bytes: Buffer): Ip | undefined {
  if (bytes.length === 4) return parseIp(bytes.join("."));
  return parseIp(Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(":"));
}

/** Writes a header. Addresses of two families are both written as IPv6, the other one mapped into it. */
export function writeProxyHeader(source: Endpoint, destination: Endpoint, fields: readonly ProxyField[]): Buffer {
  const isIpv4 = ipFamily(source.ip) === 4 && ipFamily(destination.ip) === 4;
  const addresses = [bytesAs(source.ip, isIpv4), bytesAs(destination.ip, isIpv4)];
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  const parts: Uint8Array[] = [...addresses, ports];
  for (const { type, value } of fields) {
    const head = Buffer.from([type, 0, 0]);
    head.writeUInt16BE(value.length, 1);
    parts.push(head, value);
  }
  const body = Buffer.concat(parts);
  const fixed = Buffer.from([...SIGNATURE, VERSION_PROXY, isIpv4 ? TCP4 : TCP6, 0, 0]);
  fixed.writeUInt16BE(body.length, 14);
  return Buffer.concat([fixed, body]);
}

function bytesAs(ip: Ip, asIpv4: boolean): Uint8Array {
  const bytes = ipBytes(ip);
  return asIpv4 || bytes.length === 16 ? bytes : Buffer.from([...MAPPED_PREFIX, ...bytes]);
}

/** `::ffff:0:0/96` (RFC 4291 section 2.5.5.2). */
const MAPPED_PREFIX = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

function malformed(what: string): Failure {
  return fail("PROXY_HEADER_MALFORMED", what);
}
