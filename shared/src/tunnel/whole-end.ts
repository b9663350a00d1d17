// Machine. Tells the end of a stream from its abortion, where the runtime does not.
import type { Http2Stream } from "node:http2";
import { RESET_NO_ERROR } from "../failure/failure.ts";

/** Streams that the peer has ended and then reset without an error. */
const ended = new WeakSet<Http2Stream>();

/**
 * To be called before anything of the stream has come. Without it `isWholeEnd` takes for cut short what the peer has ended and then
 * reset without an error, as whoever answers early does (RFC 9113 section 8.1), if our own end was given to the stream by then.
 */
export function watchEnd(stream: Http2Stream): void {
  stream.on("newListener", noteEnd);
}

/** The runtime is about to let a stream end that was reset with NO_ERROR: has it ended by itself? */
function noteEnd(this: Http2Stream, event: string | symbol, listener: unknown): void {
  // oxlint-disable-next-line typescript/unbound-method -- it is compared, not called.
  if (event === "end" && listener === this.destroy && wasEndedByPeer(this)) ended.add(this);
}

/**
 * To be asked in an 'end' listener: has the peer sent END_STREAM? The runtime also lets a stream end that
 * was reset with NO_ERROR, which is how Envoy aborts a tunnel. It then destroys the stream by a listener of its own, and only then.
 */
export function isWholeEnd(stream: Http2Stream): boolean {
  if (!stream.closed) return true;
  if (stream.rstCode !== RESET_NO_ERROR) return false;
  // oxlint-disable-next-line typescript/unbound-method -- it is compared, not called.
  return stream.listenerCount("end", stream.destroy) === 0 || ended.has(stream);
}

/**
 * To be asked in an 'aborted' listener, which comes when the peer closes a stream that we have not ended: had it sent
 * END_STREAM just before? Then its bytes are whole, and it only wants no more of ours. Where the runtime no longer shows
 * this, the answer is no, and the stream counts as cut short.
 */
export function wasEndedByPeer(stream: Http2Stream): boolean {
  const { _readableState: state } = stream as unknown as { _readableState?: { ended?: boolean } };
  return state?.ended === true;
}
