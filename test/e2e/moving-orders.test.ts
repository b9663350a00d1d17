// The label `istio.io/use-waypoint` changes, and each program hears of it at another time: in every order, what is open goes on, and
// what is new is answered at the latest when all have heard.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startMoving, LONG, MOVING, type Moving, type Name, type Said } from "../support/moving.ts";
import { askOver, Http2Client, keeping } from "../support/steady-clients.ts";
import { dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

/** What may be refused on the way to where all have heard. */
const REFUSALS = ["DESTINATION_UNKNOWN", "WAYPOINT_REQUIRED"];

/** All orders of some names. */
function orders(names: readonly Name[]): Name[][] {
  if (names.length === 0) return [[]];
  return names.flatMap((name) => orders(names.filter((other) => other !== name)).map((rest) => [name].concat(rest)));
}

describe("a label that changes", () => {
  let moving: Moving;
  let said: Said = { waypoint: "a", on: "service", requires: true };
  let paths = 0;

  before(async () => {
    moving = await startMoving("own folders", said);
  });
  after(() => moving.mesh.stop());

  function urlOf(port: number): string {
    return `http://${moving.programs.client.inside}:${port}`;
  }

  function refusals(): number {
    const lines = Object.values(moving.programs).flatMap(({ program }) => program.output);
    return lines.filter((line) => REFUSALS.some((code) => line.includes(`"code":"${code}"`))).length;
  }

  /** Tells them one after the other, and asks at each step. */
  async function move(to: Said, order: readonly Name[], keeps: boolean): Promise<void> {
    const http1 = keeping();
    const http2 = new Http2Client(urlOf(MOVING.http2));
    const kept = (): Promise<string | undefined> => askOver(http1, `${urlOf(MOVING.http)}/${(paths += 1)}`);
    const outcomes: (string | undefined)[] = [await kept(), await http2.ask("/")];
    const long = http2.begin(LONG);
    const tcp = await dial(moving.programs.client.inside, MOVING.tcp);
    let echoed = "";
    long.on("data", (chunk) => (echoed += String(chunk)));
    long.on("error", (error) => (echoed += String(error)));
    try {
      const asked: Promise<string | undefined>[] = [];
      for (const [index, name] of order.entries()) {
        await moving.tell(name, to);
        const refused = refusals();
        const asking = askOver(undefined, `${urlOf(MOVING.http)}/${(paths += 1)}`);
        asked.push(asking);
        let isAnswered = false;
        void asking.then(() => (isAnswered = true));
        // Somebody has refused it, and it waits: what comes next changes that.
        await until(`an answer or a refusal after ${name}`, () => isAnswered || refusals() > refused);
        if (!keeps) continue;
        asked.push(kept(), http2.ask("/"));
        long.write(`${index}`);
        tcp.send(`${index}`);
        await until("the long stream", () => echoed.length > index);
        await tcp.bytes(index + 1);
      }
      outcomes.push(...(await Promise.all(asked)));
      const what = `${JSON.stringify(said)} to ${JSON.stringify(to)}, heard in the order ${order.join(", ")}`;
      assert.deepEqual(
        outcomes.filter((outcome) => outcome !== undefined),
        [],
        what,
      );
      if (keeps) {
        assert.equal(echoed, order.map((_, index) => index).join(""), what);
        tcp.finish();
        assert.equal(await tcp.ended(), "end", what);
      }
    } finally {
      said = to;
      tcp.close();
      http1.destroy();
      http2.close();
    }
  }

  test("from one waypoint to another, where the workload requires it", async () => {
    const all = orders(["client", "a", "b", "shop"]);
    for (const order of all) {
      await move({ waypoint: said.waypoint === "a" ? "b" : "a", on: "service", requires: true }, order, true);
    }
    assert.equal(all.length, 24);
  });

  test("on the namespace, from none and to none", async () => {
    const none: Said = { waypoint: undefined, on: "namespace", requires: false };
    for (const name of ["client", "a", "b", "shop"] as const) await moving.tell(name, none);
    said = none;
    for (const order of orders(["client", "a"])) {
      await move({ ...none, waypoint: "a" }, order, true);
      await move(none, order.toReversed(), true);
    }
  });

  test("together with require-waypoint, what is new is answered all the same", async () => {
    for (const order of orders(["client", "a", "shop"])) {
      await move({ waypoint: "a", on: "service", requires: true }, order, false);
      await move({ waypoint: undefined, on: "service", requires: false }, order, false);
    }
  });
});
