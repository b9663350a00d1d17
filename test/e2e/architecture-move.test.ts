// A running service moves from one placement to another by one annotation of its Gateway, under load, and the instances that it has
// left end: every request is answered.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startArchitecture, type Architecture } from "../support/architecture.ts";
import type { Placement } from "@culvert/shared/workload/workload.ts";
import { INSTANCES, TO_REVIEWS } from "../support/architecture-resources.ts";
import { SteadyClients } from "../support/steady-clients.ts";
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

describe("a service that moves", () => {
  let architecture: Architecture;
  const clients = new SteadyClients();

  before(async () => {
    architecture = await startArchitecture("remote");
    const url = `http://${architecture.client.inside}:${TO_REVIEWS}`;
    for (let times = 0; times < 2; times += 1) clients.startFresh(url);
    // Its connection ends with the instance, half a second after its last request: on a busy machine that may be a moment too early for it.
    clients.startKeeping(url, { asksAgain: true });
    clients.startHttp2(url, 2);
  });

  after(async () => {
    await clients.stop();
    await architecture.site.mesh.stop();
  });

  async function answers(what: string, count: number): Promise<void> {
    const { answered } = clients;
    await until(`answers ${what}`, () => clients.answered > answered + count || clients.lost.length > 0);
    assert.deepEqual(clients.lost, [], `${what}, after ${clients.answered} answers`);
  }

  test("no request is lost, in any direction, and the new instances serve them", async () => {
    let from: Placement = "remote";
    for (const to of MOVES) {
      clients.path = `/load/${to}`;
      // An instance with another account does not start while one account is served: the instance of that one serves until it has.
      if (from === "service-account" && to !== "sidecar") await architecture.say({ placement: to });
      await architecture.start(to);
      await architecture.say({ placement: to });
      await answers(`after the move to ${to}`, 40);
      const names = INSTANCES[to].map(({ name }) => name);
      // The line of a request may come after its answer.
      await until(`a request served by ${names.join(" or ")}`, () =>
        names.some((name) => architecture.instances.get(name)?.log.some(({ path }) => path === `/load/${to}`)),
      );
      await architecture.stopInstances(from);
      await answers(`from ${from} to ${to}`, 20);
      from = to;
    }
  });
});
