// For tests: HTTP/2 by hand over mutual TLS, as client or as server. Frames are values, anything can be sent in any order, and
// what the peer sends is read back without a library, so that a hostile conversation reads as one.
import { once } from "node:events";
import { connect as connectTcp, type AddressInfo, type Socket } from "node:net";
import { connect, createServer } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { TlsContexts } from "@culvert/shared/identity/tls.ts";
import { staticSource } from "./identity.ts";
import { within } from "./until.ts";

/** Frame types (RFC 9113 section 6). */
export const TYPE = {
  DATA: 0x0,
  HEADERS: 0x1,
  PRIORITY: 0x2,
  RST_STREAM: 0x3,
  SETTINGS: 0x4,
  PUSH_PROMISE: 0x5,
  PING: 0x6,
  GOAWAY: 0x7,
  WINDOW_UPDATE: 0x8,
  CONTINUATION: 0x9,
} as const;

export const FLAG = { ACK: 0x1, END_STREAM: 0x1, END_HEADERS: 0x4 } as const;

/** Identifiers of settings. */
export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
} as const;

/** A frame that the peer has sent. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export const PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const HEADER_BYTES = 9;

/** Any frame. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** SETTINGS with these values. */
export function settings(values: readonly (readonly [id: number, value: number])[] = []): Buffer {
  const payload = Buffer.alloc(values.length * 6);
  for (const [index, [id, value]] of values.entries()) {
    payload.writeUInt16BE(id, index * 6);
    payload.writeUInt32BE(value, index * 6 + 2);
  }
  return frame(TYPE.SETTINGS, 0, 0, payload);
}

export function settingsAck(): Buffer {
  return frame(TYPE.SETTINGS, FLAG.ACK, 0);
}

/** HEADERS with a whole block, unless `flags` says otherwise. */
export function headers(stream: number, fields: readonly Field[], flags: number = FLAG.END_HEADERS): Buffer {
  return frame(TYPE.HEADERS, flags, stream, block(fields));
}

export function data(stream: number, bytes: Uint8Array | string = "", flags = 0): Buffer {
  return frame(TYPE.DATA, flags, stream, Buffer.from(bytes));
}

export function reset(stream: number, code: number): Buffer {
  return frame(TYPE.RST_STREAM, 0, stream, uint32(code));
}

export function ping(flags = 0, payload: Uint8Array = Buffer.alloc(8)): Buffer {
  return frame(TYPE.PING, flags, 0, payload);
}

export function goaway(lastStream: number, code: number): Buffer {
  return frame(TYPE.GOAWAY, 0, 0, Buffer.concat([uint32(lastStream), uint32(code)]));
}

export function windowUpdate(stream: number, increment: number): Buffer {
  return frame(TYPE.WINDOW_UPDATE, 0, stream, uint32(increment));
}

/** A header field; names go out as they are written here. */
export type Field = readonly [name: string, value: string];

/** The two pseudo headers of a tunnel request. */
export function connectFields(authority = "10.0.0.1:80"): Field[] {
  return [
    [":method", "CONNECT"],
    [":authority", authority],
  ];
}

/** A header block of literals without indexing and without Huffman coding (RFC 7541 section 6.2.2). */
export function block(fields: readonly Field[]): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of fields) parts.push(Buffer.from([0]), literal(name), literal(value));
  return Buffer.concat(parts);
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.concat([integer(bytes.length), bytes]);
}

/** RFC 7541 section 5.1 with a prefix of seven bits. */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Status codes that have an entry in HPACK's static table. */
const STATIC_STATUS: Readonly<Record<number, number>> = { 8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500 };
/** The digits' Huffman codes (RFC 7541 appendix B): 0 to 2 have five bits, the others six. */
const LONG_DIGITS = 0b011001;

/** The `:status` of an answer's HEADERS, which stands first. The peer must not index: send HEADER_TABLE_SIZE 0. */
export function statusOf({ payload }: Frame): number | undefined {
  // Updates of the table's size come before the first field.
  const start = payload.findIndex((byte) => (byte & 0xe0) !== 0x20);
  const first = payload[start] ?? 0;
  if ((first & 0x80) !== 0) return STATIC_STATUS[first & 0x7f];
  const length = payload[start + 1] ?? 0;
  const value = payload.subarray(start + 2, start + 2 + (length & 0x7f));
  return (length & 0x80) === 0 ? Number(value.toString("latin1")) : huffmanDigits(value);
}

function huffmanDigits(value: Buffer): number {
  let bits = [...value].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let digits = "";
  while (digits.length < 3) {
    const short = Number.parseInt(bits.slice(0, 5), 2);
    digits += short < 3 ? short : Number.parseInt(bits.slice(0, 6), 2) - LONG_DIGITS + 3;
    bits = bits.slice(short < 3 ? 5 : 6);
  }
  return Number(digits);
}

/** One connection. */
export class RawH2 {
  readonly socket: Socket;
  /** Everything that came, in order; the first `keep` frames of it. */
  readonly frames: Frame[] = [];
  /** Lowered by floods, which ask for more answers than a test has memory for. */
  keep = Infinity;
  /** Told of every frame as it comes, kept or not. */
  onFrame: ((frame: Frame) => void) | undefined;
  #rest: Buffer = Buffer.alloc(0);
  #closed = false;
  readonly #waiting = new Set<() => void>();

  /** `skip`: bytes before the first frame, which is the preface when the peer is a client. */
  constructor(socket: Socket, skip = 0) {
    this.socket = socket;
    let toSkip = skip;
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#closed = true;
      this.#wake();
    });
    socket.on("drain", () => this.#wake());
    socket.on("data", (chunk: Buffer) => {
      const skipped = Math.min(toSkip, chunk.length);
      toSkip -= skipped;
      this.#take(chunk.subarray(skipped));
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Sends frames, or any bytes. `false` when the socket takes no more for now. */
  send(...bytes: readonly Uint8Array[]): boolean {
    return this.#closed || this.socket.write(Buffer.concat(bytes));
  }

  /** Sends, and waits until the socket takes more. */
  async sendAll(...bytes: readonly Uint8Array[]): Promise<void> {
    if (this.send(...bytes)) return;
    await this.#until(() => this.#closed || !this.socket.writableNeedDrain, "the peer to read");
  }

  /** Waits for a frame that fits, those that came already included; `undefined` when the connection closes without it. */
  async frame(fits: (frame: Frame) => boolean, deadlineMs?: number): Promise<Frame | undefined> {
    const found = (): Frame | undefined => this.frames.find((each) => fits(each));
    await this.#until(() => found() !== undefined || this.#closed, "a frame", deadlineMs);
    return found();
  }

  /** Waits until the peer has closed the connection. */
  async end(deadlineMs?: number): Promise<void> {
    await this.#until(() => this.#closed, "the end of the connection", deadlineMs);
  }

  /** The code of the GOAWAY that came, if one did. */
  get goawayCode(): number | undefined {
    return this.frames.find(({ type }) => type === TYPE.GOAWAY)?.payload.readUInt32BE(4);
  }

  /** The status that a stream was answered with. */
  async status(stream: number): Promise<number | undefined> {
    const answer = await this.frame((each) => each.type === TYPE.HEADERS && each.stream === stream);
    return answer === undefined ? undefined : statusOf(answer);
  }

  /** What became of a request: the status of its answer, or the code of its reset as a text. */
  async outcome(stream: number): Promise<number | string | undefined> {
    const found = await this.frame((each) => {
      return each.stream === stream && (each.type === TYPE.HEADERS || each.type === TYPE.RST_STREAM);
    });
    if (found === undefined) return undefined;
    return found.type === TYPE.HEADERS ? statusOf(found) : `reset ${found.payload.readUInt32BE(0)}`;
  }

  /** The code that a stream was reset with. */
  async resetCode(stream: number): Promise<number | undefined> {
    const found = await this.frame((each) => each.type === TYPE.RST_STREAM && each.stream === stream);
    return found?.payload.readUInt32BE(0);
  }

  close(): void {
    this.socket.destroy();
  }

  async #until(condition: () => boolean, what: string, deadlineMs?: number): Promise<void> {
    const wait = async (): Promise<void> => {
      while (!condition()) {
        await new Promise<void>((resolve) => void this.#waiting.add(resolve));
      }
    };
    await within(what, wait(), deadlineMs);
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #take(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      if (this.#rest.length < HEADER_BYTES) break;
      const end = HEADER_BYTES + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < end) break;
      if (this.frames.length < this.keep || this.onFrame !== undefined) {
        const came: Frame = {
          type: this.#rest.readUInt8(3),
          flags: this.#rest.readUInt8(4),
          stream: this.#rest.readUInt32BE(5) & 0x7fff_ffff,
          payload: this.#rest.subarray(HEADER_BYTES, end),
        };
        if (this.frames.length < this.keep) this.frames.push(came);
        this.onFrame?.(came);
      }
      this.#rest = this.#rest.subarray(end);
    }
    this.#wake();
  }
}

/** A TLS connection to `port` with that identity; nothing is sent on it. */
export async function connectSecure(
  port: number,
  identity: Identity,
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const contexts = new TlsContexts(staticSource(identity));
  const socket = connect({ ...contexts.clientOptions(), host: "127.0.0.1", port, ...options });
  socket.on("error", () => {});
  await within("a TLS connection", once(socket, "secureConnect"));
  return socket;
}

/** A connection on which the preface and SETTINGS were exchanged. With `acknowledge` false the peer's are left unanswered. */
export async function connectRaw(port: number, identity: Identity, acknowledge = true): Promise<RawH2> {
  return begin(new RawH2(await connectSecure(port, identity)), acknowledge);
}

/** The same without TLS. */
export async function connectPlain(host: string, port: number, acknowledge = true): Promise<RawH2> {
  const socket = connectTcp({ host, port, noDelay: true });
  socket.on("error", () => {});
  await within("a TCP connection", once(socket, "connect"));
  return begin(new RawH2(socket), acknowledge);
}

async function begin(raw: RawH2, acknowledge: boolean): Promise<RawH2> {
  raw.send(PREFACE, settings([[SETTING.HEADER_TABLE_SIZE, 0]]));
  await raw.frame(({ type, flags }) => type === TYPE.SETTINGS && (flags & FLAG.ACK) === 0);
  if (acknowledge) raw.send(settingsAck());
  return raw;
}

/** A server of raw connections. */
export interface RawServer {
  readonly port: number;
  readonly connections: RawH2[];
  close(): void;
}

/** Listens as a peer with that identity; `onConnection` plays it. Nothing is sent by itself. */
export async function listenRaw(identity: Identity, onConnection: (raw: RawH2) => void): Promise<RawServer> {
  const server = createServer(new TlsContexts(staticSource(identity)).serverOptions());
  const connections: RawH2[] = [];
  server.on("secureConnection", (socket) => {
    const raw = new RawH2(socket, PREFACE.length);
    connections.push(raw);
    onConnection(raw);
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    close: () => {
      server.close();
      for (const raw of connections) raw.close();
    },
  };
}
