// Machine. The one way to reset a stream. The runtime's `stream.close(code)` first ends the stream and only then resets it, so
// that the peer gets END_STREAM, takes what was cut short for whole, and may never see the reset.
import type { Http2Stream } from "node:http2";

/** Sends RST_STREAM with `code` (RFC 9113 section 7) and nothing before it. Does nothing to a stream that is gone. */
export function resetStream(stream: Http2Stream, code: number): void {
  if (stream.destroyed) return;
  if (stream.closed) {
    // The peer has closed it, and it waits for its last bytes to be read; nobody will.
    stream.destroy();
    return;
  }
  // `close` calls `end` on a stream that is not ending; for the length of that call it is not to.
  stream.end = stay;
  stream.close(code);
  Reflect.deleteProperty(stream, "end");
}

function stay(this: Http2Stream): Http2Stream {
  return this;
}
