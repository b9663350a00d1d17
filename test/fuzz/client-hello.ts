// Root. `node client-hello.ts [RUNS] [SEED]`: feeds the reader of ClientHellos with real ones that were mutated, in pieces.
import assert from "node:assert/strict";
import process from "node:process";
import * as fc from "fast-check";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { CAPTURED, helloMessage, inRecords } from "@culvert/waypoint/inbound/client-hello-fixtures.ts";
import { ClientHelloReader, MOST_HELLO_BYTES, type ClientHello } from "@culvert/waypoint/inbound/client-hello.ts";

const VALID = [...CAPTURED.map(({ bytes }) => bytes), inRecords(helloMessage(), 40)];
const NAME = /^[a-z\d_]([a-z\d._-]*[a-z\d_])?$/;

/** Bytes that are set, dropped or put in between: mostly such that lengths no longer add up. */
const mutation = fc.record({
  at: fc.nat(2_000),
  drop: fc.nat(3),
  insert: fc.uint8Array({ maxLength: 3 }),
  set: fc.option(fc.oneof(fc.constantFrom(0, 1, 3, 0x16, 0x17, 0x2e, 0xff), fc.nat(255)), { nil: undefined }),
});

const input = fc.record({
  start: fc.constantFrom(...VALID),
  mutations: fc.array(mutation, { maxLength: 3 }),
  cuts: fc.array(fc.nat(2_000), { maxLength: 6 }),
});

/** Nothing throws; the pieces do not matter; what is read is a name that anybody would read. */
export function fuzzClientHello(runs: number, seed?: number): void {
  fc.assert(
    fc.property(input, ({ start, mutations, cuts }) => {
      let bytes = start;
      for (const { at, drop, insert, set } of mutations) {
        const place = bytes.length === 0 ? 0 : at % bytes.length;
        bytes = Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + drop)]);
        if (set !== undefined && place < bytes.length) bytes[place] = set;
      }
      const whole = new ClientHelloReader().read(bytes);
      assert.deepEqual(inPieces(bytes, cuts), whole);
      if (whole === undefined) assert.ok(bytes.length < MOST_HELLO_BYTES);
      else if (!isFailure(whole) && whole.serverName !== undefined) assert.match(whole.serverName, NAME);
    }),
    { numRuns: runs, ...(seed === undefined ? {} : { seed }) },
  );
}

function inPieces(bytes: Buffer, cuts: readonly number[]): ClientHello | Failure | undefined {
  const reader = new ClientHelloReader();
  for (const cut of cuts.toSorted((a, b) => a - b)) {
    if (cut >= bytes.length) break;
    const said = reader.read(bytes.subarray(0, cut));
    if (said !== undefined) return said;
  }
  return reader.read(bytes);
}

if (import.meta.main) {
  const [runs = "100000", seed] = process.argv.slice(2);
  fuzzClientHello(Number(runs), seed === undefined ? undefined : Number(seed));
}
