// A running service moves from one placement to another by one annotation of its Gateway, under load, and the instances that it has
// left end: every request is answered.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startArchitecture, type Architecture } from "../support/architecture.ts";
import type { Placement } from "@culvert/shared/workload/workload.ts";
import { INSTANCES } from "../support/architecture-resources.ts";
import { until } from "../support/until.ts";

/** Through all four, each left and entered. */
const MOVES: readonly Placement[] = [
  "node",
  "service-account",
  "sidecar",
  "remote",
  "sidecar",
  "service-account",
  "node",
  "remote",
];
/** Clients at a time; each request has a connection of its own. */
const CLIENTS = 4;

describe("a service that moves", () => {
  let architecture: Architecture;
  const load = { isOver: false };
  let answered = 0;
  const lost: string[] = [];

  before(async () => {
    architecture = await startArchitecture("remote");
  });

  after(async () => {
    load.isOver = true;
    await architecture.site.mesh.stop();
  });

  async function client(): Promise<void> {
    while (!load.isOver) {
      const outcome = await architecture.ask("reviews", `/load/${architecture.said.placement}`).then(
        ({ status }) => String(status),
        (error: unknown) => String(error),
      );
      if (outcome === "200") answered += 1;
      else lost.push(`${architecture.said.placement}: ${outcome}`);
    }
  }

  test("no request is lost, in any direction, and the new instances serve them", async () => {
    const clients = Array.from({ length: CLIENTS }, client);
    try {
      let from: Placement = "remote";
      for (const to of MOVES) {
        // An instance with another account does not start while one account is served: the instance of that one serves until it has.
        if (from === "service-account" && to !== "sidecar") await architecture.say({ placement: to });
        await architecture.start(to);
        await architecture.say({ placement: to });
        const moved = answered;
        await until(`requests after the move to ${to}`, () => answered > moved + 40 || lost.length > 0);
        const names = INSTANCES[to].map(({ name }) => name);
        // The line of a request may come after its answer.
        await until(`a request served by ${names.join(" or ")}`, () =>
          names.some((name) => architecture.instances.get(name)?.log.some(({ path }) => path === `/load/${to}`)),
        );
        await architecture.stopInstances(from);
        const stopped = answered;
        await until(`requests after the end of ${from}`, () => answered > stopped + 20 || lost.length > 0);
        assert.deepEqual(lost, [], `from ${from} to ${to}, after ${answered} answers`);
        from = to;
      }
    } finally {
      load.isOver = true;
      await Promise.all(clients);
    }
    assert.deepEqual(lost, []);
  });
});
