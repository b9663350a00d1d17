// Machine. What is inside TLS as a byte channel, over the channel that carries it.
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { ChannelError } from "./channel-duplex.ts";
import type { ByteChannel, ByteSink } from "./channel.ts";

/** Takes over a connection to an application whose handshake has begun. `carrier` is the duplex that it runs over. */
export function tlsChannel(socket: TLSSocket, carrier: Duplex): ByteChannel {
  return new TlsChannel(socket, carrier);
}

class TlsChannel implements ByteChannel {
  readonly #socket: TLSSocket;
  readonly #carrier: Duplex;
  #sink: ByteSink | undefined = undefined;
  #started = false;
  #paused = false;
  #ended = false;
  #endSeen = false;
  #truncated = false;
  #closed = false;
  #broken: Failure | undefined = undefined;

  constructor(socket: TLSSocket, carrier: Duplex) {
    this.#socket = socket;
    this.#carrier = carrier;
    // The runtime tells the end of TLS and that of the carrier alike. But the first comes while the carrier has not ended: one without
    // the other is an end that anybody between the two could have made (RFC 8446 section 6.1).
    const push = socket.push.bind(socket);
    socket.push = (chunk: unknown, encoding?: BufferEncoding) => {
      if (chunk === null && carrier.readableEnded) this.#truncated = true;
      return push(chunk, encoding);
    };
    socket.on("error", (error: Error) => {
      this.#broken ??= error instanceof ChannelError ? error.failure : fail("APP_RESET", error.message);
    });
    socket.on("drain", () => this.#sink?.onDrain());
    // Unread, it does not tell of its end either.
    socket.on("end", () => this.#onEnd());
    socket.on("close", () => this.#onClose());
  }

  get alpn(): string | undefined {
    const { alpnProtocol } = this.#socket;
    return typeof alpnProtocol === "string" ? alpnProtocol : undefined;
  }

  get queued(): number {
    return this.#socket.writableLength;
  }

  attach(sink: ByteSink): void {
    this.#sink = sink;
    if (this.#closed || this.#socket.destroyed) return this.#onClose();
    if (this.#endSeen) sink.onEnd();
    if (this.#started) {
      if (!this.#paused) this.#socket.resume();
      return undefined;
    }
    this.#started = true;
    this.#socket.on("data", (chunk: Buffer) => this.#sink?.onBytes(chunk, false));
    return undefined;
  }

  writeLatin1(text: string): boolean {
    return this.#socket.write(text, "latin1");
  }

  writeBytes(bytes: Uint8Array): boolean {
    return this.#socket.write(bytes);
  }

  end(): void {
    this.#ended = true;
    this.#socket.end();
  }

  reset(failure: Failure | undefined): void {
    if (this.#ended && failure === undefined) {
      this.#socket.destroySoon();
      return;
    }
    // The carrier first: `destroy` of the socket alone would end it in order.
    this.#broken ??= failure ?? fail("APP_RESET", "given up");
    this.#carrier.destroy(new ChannelError(this.#broken));
    this.#socket.destroy();
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#socket.resume();
  }

  #onEnd(): void {
    if (this.#endSeen) return;
    if (this.#truncated) return this.reset(fail("APP_RESET", "ended without close_notify"));
    this.#endSeen = true;
    this.#sink?.onEnd();
  }

  #onClose(): void {
    this.#closed = true;
    const sink = this.#sink;
    this.#sink = undefined;
    const inOrder = this.#endSeen && this.#ended && this.#broken === undefined;
    sink?.onClose(inOrder ? undefined : (this.#broken ?? fail("APP_RESET", "closed")));
  }
}
