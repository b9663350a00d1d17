// For tests: ClientHellos, real ones as they were captured and ones that say what a test wants.
import { readFileSync } from "node:fs";

/** One ClientHello as a client has sent it, in one record. */
export interface CapturedHello {
  readonly client: string;
  readonly serverName: string | null;
  readonly bytes: Buffer;
}

interface Stored extends Omit<CapturedHello, "bytes"> {
  readonly base64: string;
}

/** From OpenSSL, curl and Node.js, and from a client that sends what browsers do. */
export const CAPTURED: readonly CapturedHello[] = (
  JSON.parse(readFileSync(new URL("client-hello-vectors.json", import.meta.url), "utf8")) as readonly Stored[]
).map(({ client, serverName: name, base64 }) => ({ client, serverName: name, bytes: Buffer.from(base64, "base64") }));

/** What a ClientHello is made of; what a test does not name is as it should be. */
export interface HelloParts {
  readonly version?: number;
  readonly sessionId?: Buffer;
  readonly suites?: Buffer;
  readonly compressions?: Buffer;
  /** `undefined`: not even their length. */
  readonly extensions?: readonly Buffer[] | undefined;
  readonly tail?: Buffer;
}

/** Bytes behind their length. */
export function vector(size: 1 | 2 | 3, content: Buffer): Buffer {
  const length = Buffer.alloc(size);
  length.writeUIntBE(content.length, 0, size);
  return Buffer.concat([length, content]);
}

/** An extension. */
export function extension(type: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type >> 8, type & 0xff]), vector(2, content)]);
}

/** The extension that names the server. */
export function serverName(name: string, type = 0): Buffer {
  return extension(0, vector(2, Buffer.concat([Buffer.from([type]), vector(2, Buffer.from(name, "latin1"))])));
}

/** The message, without a record around it. */
export function helloMessage(parts: HelloParts = {}): Buffer {
  const { version = 0x0303, sessionId = Buffer.alloc(32, 7), suites = Buffer.from([0x13, 1]) } = parts;
  const { compressions = Buffer.from([0]), tail = Buffer.alloc(0) } = parts;
  const extensions = "extensions" in parts ? parts.extensions : [serverName("shop.example.com")];
  const body = Buffer.concat([
    Buffer.from([version >> 8, version & 0xff]),
    Buffer.alloc(32, 1),
    vector(1, sessionId),
    vector(2, suites),
    vector(1, compressions),
    extensions === undefined ? Buffer.alloc(0) : vector(2, Buffer.concat(extensions)),
    tail,
  ]);
  return Buffer.concat([Buffer.from([1]), vector(3, body)]);
}

/** A message in records of at most so many bytes. */
export function inRecords(message: Buffer, most = 16 * 1024, head: readonly number[] = [0x16, 3, 1]): Buffer {
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += most) {
    records.push(Buffer.from(head), vector(2, message.subarray(at, at + most)));
  }
  return Buffer.concat(records);
}
