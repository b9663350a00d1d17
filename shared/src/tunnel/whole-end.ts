// Pure. Tells the end of a stream from its abortion, where the runtime does not.
import type { Http2Stream } from "node:http2";
import { RESET_NO_ERROR } from "../failure/failure.ts";

/**
 * To be asked in an 'end' listener: has the peer sent END_STREAM? The runtime also lets a stream end that was reset with
 * NO_ERROR, which is how Envoy aborts a tunnel. It then destroys the stream by a listener of its own, and only then.
 */
export function isWholeEnd(stream: Http2Stream): boolean {
  if (!stream.closed) return true;
  // oxlint-disable-next-line typescript/unbound-method -- it is compared, not called.
  return stream.rstCode === RESET_NO_ERROR && stream.listenerCount("end", stream.destroy) === 0;
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
