import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { Connections } from "./connections.ts";
import { watchExpiry } from "./expiry.ts";

const HOUR = 3_600_000;

function scene(connectionIdleMs: number, maxConnectionAgeMs: number) {
  const clock = new FakeClock();
  let id = 0;
  const connections = new Connections(() => String(id++));
  const stop = watchExpiry(connections, { connectionIdleMs, maxConnectionAgeMs }, clock);
  const open = (bytes: { fromSocket: number; toSocket: number } | undefined = { fromSocket: 0, toSocket: 0 }) => {
    const connection = connections.register({
      direction: "outbound",
      facts: undefined,
      source: "127.0.0.1:1",
      destination: "app:80",
      startedAt: clock.monotonic(),
    });
    connection.bytes = bytes;
    return connection;
  };
  return { clock, open, stop };
}

test("a connection that carries nothing ends, one that carries a byte now and then does not", () => {
  const { clock, open, stop } = scene(60_000, 0);
  const carried = { fromSocket: 0, toSocket: 0 };
  const [silent, slow, opening] = [open(), open(carried), open()];
  opening.bytes = undefined;
  for (let second = 0; second < 300; second += 50) {
    clock.advance(50_000);
    carried.toSocket += 1;
  }
  assert.equal(silent.ended?.code, "IDLE_TIMEOUT");
  assert.equal(slow.ended, undefined);
  assert.equal(opening.ended, undefined);
  stop();
  assert.equal(clock.pending, 0);
});

test("a connection ends at its age, whatever it carries", () => {
  const { clock, open } = scene(0, HOUR);
  const carried = { fromSocket: 0, toSocket: 0 };
  const connection = open(carried);
  clock.advance(HOUR * 0.9);
  carried.fromSocket += 1;
  const early = connection.ended;
  clock.advance(HOUR * 0.2);
  assert.deepEqual([early, connection.ended?.code], [undefined, "LIFETIME_REACHED"]);
});
