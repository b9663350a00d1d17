// How long a connection outlives its session.
import assert from "node:assert/strict";
import { Duplex } from "node:stream";
import { test } from "node:test";
import type { ByteChannel } from "../channel/channel.ts";
import { DEFAULT_HTTP_LIMITS } from "../http/limits.ts";
import { Farewell } from "./farewell.ts";
import type { Http2Shared } from "./shared-state.ts";

const { lingerMs, progressMs } = DEFAULT_HTTP_LIMITS;

/** A connection whose other side has not taken `queued` bytes; `at` is the next look at it, so many milliseconds later. */
function connection(queued: number): { readonly at: (ms: number) => "open" | "ended" | "reset" } {
  const deadlines = { now: 1_000 };
  let error: Error | undefined;
  const duplex = new Duplex({ read: () => {}, write: () => {} }).on("error", (each) => (error = each));
  const shared = { deadlines, messages: DEFAULT_HTTP_LIMITS } as unknown as Http2Shared;
  const farewell = new Farewell({ queued } as ByteChannel, duplex, shared);
  return {
    at: (ms) => {
      deadlines.now = 1_000 + ms;
      farewell.tick();
      error ??= duplex.errored ?? undefined;
      if (error !== undefined) return "reset";
      return duplex.destroyed ? "ended" : "open";
    },
  };
}

test("the other side has time to read the GOAWAY, whenever the first look comes", () => {
  const { at } = connection(0);
  assert.equal(at(0), "open");
  assert.equal(at(lingerMs - 1), "open");
  assert.equal(at(lingerMs), "ended");
});

test("who has bytes of ours to read has as long as any reader", () => {
  const { at } = connection(100);
  assert.equal(at(0), "open");
  assert.equal(at(lingerMs), "open");
  assert.equal(at(progressMs), "open");
  assert.equal(at(progressMs + 1), "reset");
});
