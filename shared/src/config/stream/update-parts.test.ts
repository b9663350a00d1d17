import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeUpdate } from "./frames.ts";
import { documents, entry, update, type Said } from "./stream-fixtures.ts";
import { UpdateParts, type WholeUpdate } from "./update-parts.ts";

/** What comes of parts that say these. */
function wholeOf(...said: readonly Said[]): WholeUpdate {
  const parts = new UpdateParts(1);
  let whole: WholeUpdate | undefined;
  for (const one of said) {
    const message = Buffer.from(update(1, one));
    const frame = decodeUpdate(message);
    assert.ok(typeof frame !== "string");
    assert.equal(parts.add(message, frame), undefined);
    whole = parts.whole(frame);
  }
  assert.ok(whole !== undefined);
  return whole;
}

test("of a document that stands in several parts the last word counts", () => {
  const [a1, a2, b] = [documents(entry("a", "10.0.0.1")), documents(entry("a", "10.0.0.2")), documents(entry("b"))];
  const whole = wholeOf(
    { set: new Map([...a1, ...b]), answered: ["host/a"] },
    { set: a2 },
    { removed: [...b.keys()] },
    { answered: ["host/b"] },
  );
  assert.deepEqual([whole.set.size, [...whole.set].map(([id]) => id)], [1, ["WorkloadEntry default/a"]]);
  assert.deepEqual([...whole.removed], ["WorkloadEntry default/b"]);
  assert.deepEqual(whole.answered, ["host/a", "host/b"]);
  const back = wholeOf({ removed: [...b.keys()] }, { set: b });
  assert.deepEqual([back.set.size, back.removed.size], [1, 0]);
  assert.equal([...whole.set][0]?.[1].version, [...a2.values()][0]?.version);
});
