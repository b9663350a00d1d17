// Types. A two-way stream of bytes as the HTTP codecs see it, so that the same codec runs over a TCP socket and over a
// stream of an HTTP/2 tunnel.
import type { Socket } from "node:net";
import type { Failure } from "@culvert/shared/failure/failure.ts";

/** Who takes the bytes and the events of a channel. A codec is one; it is asked, never subscribed to. */
export interface ByteSink {
  /** Bytes came in. Those of a `lent` chunk are only valid during the call: what is needed later must be copied. */
  onBytes(chunk: Buffer, lent: boolean): void;
  /** The other side will send nothing more (FIN, END_STREAM). Writing may go on. */
  onEnd(): void;
  /** A write that returned `false` has been taken: there is room again. */
  onDrain(): void;
  /**
   * The channel is gone, both ways; nothing is called after this. `failure` says what broke it, and is `undefined`
   * when both sides had ended in order.
   */
  onClose(failure: Failure | undefined): void;
}

/** The writing half and the controls of a byte stream. */
export interface ByteChannel {
  /** Inside TLS: the protocol that ALPN agreed on, if any. */
  readonly alpn?: string | undefined;
  /** Bytes written and not yet taken by the kernel or the tunnel. */
  readonly queued: number;
  /**
   * Hands the events to `sink` and starts reading. A later owner attaches again and takes over; an end or a close that has
   * come already is told to it at once.
   */
  attach(sink: ByteSink): void;
  /**
   * The socket, where the channel is nothing else and nobody has read it yet: whoever takes it has it alone, and of the channel only
   * `queued`.
   */
  takeSocket?(): Socket | undefined;
  /** Writes text of which each character is one byte. `false`: full, wait for `onDrain` (the text is taken anyway). */
  writeLatin1(text: string): boolean;
  /** Writes bytes that the caller will not change afterwards. Returns as `writeLatin1`. */
  writeBytes(bytes: Uint8Array): boolean;
  /** Ends our direction in order, after what was written. */
  end(): void;
  /**
   * Ends both directions abruptly, so that the other side cannot take what it has for the whole: TCP RST, or RST_STREAM
   * with the code that the table of failures has for `failure` (CANCEL without one). `onClose` still follows.
   */
  reset(failure: Failure | undefined): void;
  /** Stops reading: the other side is held back by flow control. */
  pause(): void;
  resume(): void;
}
