import assert from "node:assert/strict";
import { it } from "node:test";
import { fail } from "../failure/failure.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { Log } from "./log.ts";
import type { LogLevel } from "./log.ts";

function logAt(level: LogLevel): { log: Log; lines: string[]; clock: FakeClock } {
  const lines: string[] = [];
  const clock = new FakeClock();
  return { log: new Log({ level, clock, write: (line) => lines.push(line) }), lines, clock };
}

it("writes one JSON object a line: time, level, message, then the fields in their order", () => {
  const { log, lines } = logAt("info");
  log.info("listening", { address: "127.0.0.1:15008", sessions: 3, quiet: false, nothing: undefined });
  assert.deepEqual(lines, [
    '{"time":"2026-01-01T00:00:00.000Z","level":"info","message":"listening","address":"127.0.0.1:15008","sessions":3,"quiet":false}',
  ]);
});

it("writes what the level asks for, and takes another level at once", () => {
  const { log, lines } = logAt("warn");
  const all = (): void => {
    log.debug("d");
    log.info("i");
    log.warn("w");
    log.error("e");
  };
  all();
  assert.equal(lines.length, 2);
  log.setLevel("debug");
  assert.equal(log.level, "debug");
  all();
  assert.equal(lines.length, 6);
});

it("names the code of a failure", () => {
  const { log, lines } = logAt("info");
  log.failure("no tunnel", fail("PEER_REFUSED", "10.0.0.5:15008"), { peer: "reviews" });
  const line = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  assert.equal(line["code"], "PEER_REFUSED");
  assert.equal(line["error"], "the peer proxy refused the connection: 10.0.0.5:15008");
  assert.equal(line["peer"], "reviews");
});

it("keeps one event one line, whatever is in it", () => {
  const { log, lines } = logAt("info");
  const evil = 'x"}\n{"level":"error","message":"forged"}\u2028\u001b[2J';
  log.info(evil, { [evil]: evil, big: "a".repeat(65_536), number: Number.NaN });
  assert.equal(lines.length, 1);
  for (const bad of ["\n", "\u2028", "\u001b"]) assert(!lines[0]?.includes(bad));
  const line = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  assert.equal(line["message"], evil);
  assert.equal(line[evil], evil);
  assert.equal(Buffer.byteLength(String(line["big"])), 256);
  assert.equal(line["number"], null);
});

it("holds back what says the same too often, and says how often", () => {
  const { log, lines, clock } = logAt("info");
  for (let index = 0; index < 1000; index += 1) log.info("again", { index });
  assert.equal(lines.length, 100);
  assert.equal(log.suppressed, 900);
  clock.advance(1000);
  log.info("again");
  assert.match(lines[100] ?? "", /"suppressed":900}$/);
});
