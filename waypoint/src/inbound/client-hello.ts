// Pure. The name of the server in a TLS ClientHello, read without a key: what a TLSRoute goes by. Strict, because whoever decides
// must not read the same bytes otherwise than the server that they are forwarded to.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";

/** What a ClientHello says in the clear. */
export interface ClientHello {
  /**
   * Lower case; `undefined` where none is named. With Encrypted ClientHello it is the public name of the outer one, and nothing
   * tells a real one from its imitation.
   */
  readonly serverName: string | undefined;
}

/** Bytes of the connection, record headers and all, in which a ClientHello must be whole. With post-quantum keys it has 2 KiB. */
export const MOST_HELLO_BYTES: number = 64 * 1024;

const HANDSHAKE = 0x16;
const CLIENT_HELLO = 1;
const MAJOR_VERSION = 3;
const RECORD_HEADER = 5;
const MESSAGE_HEADER = 4;
const MOST_RECORD_BYTES = 16 * 1024;

const RANDOM_BYTES = 32;
const MOST_SESSION_ID_BYTES = 32;
const SERVER_NAME = 0;
const HOST_NAME = 0;

/** A name of DNS without its last dot (RFC 6066 section 3), and so that its last label is no number: no address. */
const DNS_NAME =
  /^(?=.{1,253}$)(?:[a-z\d_](?:[a-z\d_-]{0,61}[a-z\d_])?\.)*(?!\d+$)[a-z\d_](?:[a-z\d_-]{0,61}[a-z\d_])?$/;

/** Reads the first bytes of a connection as they come. */
export class ClientHelloReader {
  /** Where the next record begins. */
  #at = 0;
  /** The records' contents: the beginning of the message. */
  #message: Buffer = Buffer.alloc(0);
  #length = 0;

  /**
   * `undefined`: not whole yet. CLIENT_HELLO_REFUSED when it cannot become one any more.
   *
   * @param bytes everything received so far; each call looks only at what is new
   */
  read(bytes: Buffer): ClientHello | Failure | undefined {
    for (;;) {
      const problem = this.#beginning(bytes);
      if (problem !== undefined) return refused(problem);
      if (bytes.length - this.#at < RECORD_HEADER) break;
      const end = this.#at + RECORD_HEADER + bytes.readUInt16BE(this.#at + 3);
      if (end > MOST_HELLO_BYTES) return refused(`the ClientHello is longer than ${MOST_HELLO_BYTES} bytes`);
      if (bytes.length < end) break;
      this.#append(bytes.subarray(this.#at + RECORD_HEADER, end));
      this.#at = end;
      const hello = this.#whole();
      if (hello !== undefined) return hello;
    }
    return undefined;
  }

  /** What is wrong with the header of a record, as far as it is there. */
  #beginning(bytes: Buffer): string | undefined {
    const [type, major] = [bytes[this.#at], bytes[this.#at + 1]];
    if (type !== undefined && type !== HANDSHAKE) return `a record of type ${type} where a handshake must be`;
    if (major !== undefined && major !== MAJOR_VERSION) return `a record of version ${major}, which is not TLS`;
    if (bytes.length - this.#at < RECORD_HEADER) return undefined;
    const length = bytes.readUInt16BE(this.#at + 3);
    return length === 0 || length > MOST_RECORD_BYTES ? `a record of ${length} bytes` : undefined;
  }

  #append(content: Buffer): void {
    if (this.#length + content.length > this.#message.length) {
      const larger = Buffer.allocUnsafeSlow(2 * (this.#length + content.length));
      this.#message.copy(larger, 0, 0, this.#length);
      this.#message = larger;
    }
    content.copy(this.#message, this.#length);
    this.#length += content.length;
  }

  #whole(): ClientHello | Failure | undefined {
    if (this.#length > 0 && this.#message[0] !== CLIENT_HELLO) return refused(`a message of type ${this.#message[0]}`);
    if (this.#length < MESSAGE_HEADER) return undefined;
    const end = MESSAGE_HEADER + this.#message.readUIntBE(1, 3);
    if (end > MOST_HELLO_BYTES) return refused(`the ClientHello is longer than ${MOST_HELLO_BYTES} bytes`);
    if (this.#length < end) return undefined;
    if (this.#length > end) return refused("bytes behind the ClientHello in its record");
    return parseClientHello(this.#message.subarray(MESSAGE_HEADER, end));
  }
}

function parseClientHello(body: Buffer): ClientHello | Failure {
  const fields = new Fields(body);
  const version = fields.number(2);
  if (version >> 8 !== MAJOR_VERSION) return refused(`version ${version} is not TLS`);
  fields.skip(RANDOM_BYTES);
  if (fields.vector(1).left > MOST_SESSION_ID_BYTES) return refused("the session id is too long");
  const suites = fields.vector(2).left;
  if (suites === 0 || suites % 2 !== 0) return refused(`${suites} bytes of cipher suites`);
  if (fields.vector(1).left === 0) return refused("no compression method");
  // A client of TLS 1.2 and before may send no extension at all, not even the length of none.
  const extensions = fields.left > 0 ? fields.vector(2) : new Fields(Buffer.alloc(0));
  if (fields.broken || fields.left > 0) return refused("the lengths in it do not add up");
  return readExtensions(extensions);
}

function readExtensions(extensions: Fields): ClientHello | Failure {
  const seen = new Set<number>();
  let serverName: string | undefined;
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (extensions.broken) return refused("the lengths of its extensions do not add up");
    if (seen.has(type)) return refused(`extension ${type} is there twice`);
    seen.add(type);
    if (type !== SERVER_NAME) continue;
    const name = readServerName(content);
    if (typeof name !== "string") return name;
    serverName = name;
  }
  return { serverName };
}

/** One host name: two names would be of one type, which RFC 6066 section 3 forbids, and no other type was ever defined. */
function readServerName(content: Fields): string | Failure {
  const list = content.vector(2);
  const type = list.number(1);
  const name = list.vector(2).text();
  if (content.broken || list.broken || content.left > 0 || list.left > 0 || type !== HOST_NAME) {
    return refused("the list of server names is not one host name");
  }
  const lower = name.toLowerCase();
  return DNS_NAME.test(lower) ? lower : refused(`the server name ${JSON.stringify(name.slice(0, 100))} is no DNS name`);
}

/** Numbers and vectors one after another (RFC 8446 section 3). Once something was longer than the rest, `broken` says so. */
class Fields {
  broken = false;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  number(size: 1 | 2): number {
    if (!this.#has(size)) return 0;
    this.#at += size;
    return this.#bytes.readUIntBE(this.#at - size, size);
  }

  skip(length: number): void {
    if (this.#has(length)) this.#at += length;
  }

  /** What a length of `size` bytes stands before. */
  vector(size: 1 | 2): Fields {
    const length = this.number(size);
    const start = this.#at;
    this.skip(length);
    return new Fields(this.#bytes.subarray(start, this.#at));
  }

  text(): string {
    return this.#bytes.toString("latin1", this.#at);
  }

  #has(length: number): boolean {
    if (this.left < length) this.broken = true;
    return !this.broken;
  }
}

function refused(what: string): Failure {
  return fail("CLIENT_HELLO_REFUSED", what);
}
