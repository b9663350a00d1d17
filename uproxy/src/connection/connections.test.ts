import assert from "node:assert/strict";
import { test } from "node:test";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { id, ip } from "@culvert/test/support/fixtures.ts";
import { Connections, type ConnectionInfo } from "./connections.ts";

function registry(): Connections {
  let next = 0;
  return new Connections(() => `c${(next += 1)}`);
}

const inbound: ConnectionInfo = {
  direction: "inbound",
  facts: {
    principal: id("default/web"),
    sourceIp: ip("10.0.0.9"),
    destinationIp: ip("10.0.0.5"),
    destinationPort: 80,
  },
  source: "10.0.0.9:1234",
  destination: "10.0.0.5:80",
  startedAt: 0,
};
const outbound: ConnectionInfo = { ...inbound, direction: "outbound", facts: undefined };
const changed = fail("POLICY_CHANGED", "default/deny rules[0]");

test("a recheck ends the inbound connections that fail it, once, and no others", () => {
  const connections = registry();
  const [one, two, out] = [
    connections.register(inbound),
    connections.register(inbound),
    connections.register(outbound),
  ];
  const cuts: [string, Failure][] = [];
  one.onEnd((failure) => cuts.push(["one", failure]));
  let asked = 0;
  const first = (): Failure | undefined => ((asked += 1) === 1 ? changed : undefined);
  assert.equal(connections.recheck(first), 1);
  assert.deepEqual(cuts, [["one", changed]]);
  assert.equal(one.ended, changed);
  assert.equal(two.ended, undefined);
  assert.equal(out.ended, undefined);
  assert.equal(
    connections.recheck(() => undefined),
    0,
  );
});

test("a connection that is ended between registration and its first phase hears of it then", () => {
  const connections = registry();
  const connection = connections.register(inbound);
  connections.endAll(changed);
  connections.endAll(fail("DRAINING", ""));
  let heard: Failure | undefined;
  connection.onEnd((failure) => (heard = failure));
  assert.equal(heard, changed);
});

test("empty() resolves when the last connection is released", async () => {
  const connections = registry();
  await connections.empty();
  const [one, two] = [connections.register(inbound), connections.register(outbound)];
  assert.deepEqual(connections.counts(), { inbound: 1, outbound: 1 });
  const seen: string[] = [];
  const empty = connections.empty().then(() => seen.push("empty"));
  connections.release(one);
  await Promise.resolve();
  seen.push("one left");
  connections.release(two);
  await empty;
  assert.deepEqual(seen, ["one left", "empty"]);
});
