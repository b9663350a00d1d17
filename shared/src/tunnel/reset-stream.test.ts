// What the two ends of a stream see of each other's resets, and whether an end can be told from an abortion. These are facts of
// the runtime that the pump rests on: a version that changes them fails here.
import { deepEqual, equal } from "node:assert/strict";
import { once } from "node:events";
import type { Http2Stream } from "node:http2";
import { after, before as setUp, test } from "node:test";
import { tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import type { TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { resetStream } from "./reset-stream.ts";
import { isWholeEnd, wasEndedByPeer } from "./whole-end.ts";

const CANCEL = 8;
const CONNECT_ERROR = 10;

let pair: TunnelPair;
setUp(async () => {
  pair = await tunnelPair();
});
after(() => pair.close());

interface Seen {
  /** The peer's bytes were whole, by the 'end' and the 'aborted' event. */
  readonly whole: boolean;
  readonly code: number | undefined;
}

/** Lets the accepting end do `act` and tells what the opening end saw; `ended`: it had sent its own END_STREAM before. */
async function see(ended: boolean, act: (stream: Http2Stream) => void | Promise<void>): Promise<Seen> {
  const { opened, accepted } = await pair.tunnel();
  const { stream } = opened;
  accepted.stream.on("error", () => {}).resume();
  let whole = false;
  stream.on("end", () => (whole ||= isWholeEnd(stream)));
  stream.on("aborted", () => (whole ||= wasEndedByPeer(stream)));
  stream.resume();
  if (ended) {
    stream.end("request");
    await once(accepted.stream, "end");
  }
  const closed = new Promise((resolve) => void stream.once("close", resolve));
  await act(accepted.stream);
  await closed;
  return { whole, code: stream.rstCode };
}

for (const ended of [false, true]) {
  const when = ended ? "after its own end" : "while it still sends";
  for (const code of [0, CANCEL, CONNECT_ERROR]) {
    test(`a peer sees a reset with code ${code} ${when}, and no end`, async () => {
      deepEqual(await see(ended, (stream) => resetStream(stream, code)), { whole: false, code });
      deepEqual(
        await see(ended, (stream) => {
          stream.write("half an answer", () => resetStream(stream, code));
        }),
        { whole: false, code },
      );
    });
  }
}

test("an end, then a reset, is a whole end for whoever still sends", async () => {
  for (const code of [0, CANCEL, CONNECT_ERROR]) {
    const seen = await see(false, (stream) => {
      stream.end("answer", () => resetStream(stream, code));
    });
    deepEqual(seen, { whole: true, code });
  }
});

test("two ends are a whole end without a code", async () => {
  deepEqual(await see(true, (stream) => void stream.end("answer")), { whole: true, code: 0 });
});

test("a stream that the peer has closed and nobody reads is given up", async () => {
  const { opened, accepted } = await pair.tunnel();
  opened.stream.end();
  accepted.stream.resume();
  accepted.stream.end(Buffer.alloc(100_000));
  await once(accepted.stream, "close");
  while (!opened.stream.closed) await new Promise(setImmediate);
  equal(opened.stream.destroyed, false);
  resetStream(opened.stream, CANCEL);
  await once(opened.stream, "close");
  resetStream(opened.stream, CANCEL);
});
