// The label `istio.io/use-waypoint` changes under load, on a Service and on its Namespace, in a folder and at an authority: to another
// Gateway, to none, and back. The waypoint that was left ends. No request is lost, whatever way of using connections it came by.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Proxy } from "../support/mesh.ts";
import { LONG, MOVING, startMoving, type Moving, type Said } from "../support/moving.ts";
import { Http2Client, SteadyClients } from "../support/steady-clients.ts";
import { dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

/** Requests that have to be answered, all kinds together, before something else happens. */
const SOME = 60;

/** From `a`, by way of each other, and to `b`. */
const MOVES: readonly Pick<Said, "waypoint" | "on">[] = [
  { waypoint: "b", on: "service" },
  { waypoint: undefined, on: "service" },
  { waypoint: "a", on: "namespace" },
  { waypoint: "b", on: "namespace" },
  { waypoint: undefined, on: "namespace" },
  { waypoint: "a", on: "service" },
];

for (const source of ["one folder", "authority"] as const) {
  describe(`a label that changes under load, resources from ${source}`, () => {
    let moving: Moving;
    let clients = new SteadyClients();

    before(async () => {
      moving = await startMoving(source, { waypoint: "a", on: "service", requires: false });
      startClients();
    });
    after(async () => {
      await clients.stop();
      await moving.mesh.stop();
    });

    function startClients(): void {
      const { inside } = moving.programs.client;
      clients.startFresh(`http://${inside}:${MOVING.http}`);
      clients.startKeeping(`http://${inside}:${MOVING.http}`);
      clients.startHttp2(`http://${inside}:${MOVING.http2}`, 4);
    }

    async function answers(what: string): Promise<void> {
      const { answered } = clients;
      await until(`answers ${what}`, () => clients.answered > answered + SOME || clients.lost.length > 0);
      assert.deepEqual(clients.lost, [], what);
    }

    /** Lets the requests go on under a path of their own, until some of those come by a proxy. */
    async function comeBy({ program, name }: Proxy, path: string): Promise<void> {
      clients.path = path;
      await until(`${path} by ${name}`, () => program.output.some((line) => line.includes(`"path":"${path}"`)));
    }

    async function move(said: Said, path: string): Promise<void> {
      moving.say(said);
      if (said.waypoint !== undefined) await comeBy(moving.programs[said.waypoint], path);
      else {
        const { output } = moving.programs.shop.program;
        const seen = output.length;
        const direct = '"src.identity":"spiffe://cluster.local/ns/default/sa/client"';
        await until("direct connections", () => output.slice(seen).some((line) => line.includes(direct)));
      }
      clients.path = path;
      await answers(path);
    }

    test("no request is lost, and the new waypoint serves", async () => {
      for (const [index, to] of MOVES.entries()) await move({ ...to, requires: false }, `/${index}`);
    });

    test("a stream and a connection live until the waypoint that was left ends, and end in order", async () => {
      const { programs } = moving;
      // To require a waypoint ends what came directly: none of that is left.
      await clients.stop();
      clients = new SteadyClients();
      startClients();
      await move({ waypoint: "a", on: "service", requires: true }, "/required");
      const http2 = new Http2Client(`http://${programs.client.inside}:${MOVING.http2}`);
      const long = http2.begin(LONG);
      let echoed = "";
      let end = "";
      long.on("data", (chunk) => (echoed += String(chunk)));
      long.on("error", (error) => (end = String(error)));
      long.on("end", () => (end = "whole"));
      const tcp = await dial(programs.client.inside, MOVING.tcp);
      const speak = async (word: string): Promise<void> => {
        const sofar = echoed + word;
        long.write(word);
        tcp.send(word);
        await until(`${word} on the stream`, () => echoed === sofar || end !== "");
        assert.equal(echoed, sofar, end);
        await tcp.bytes(sofar.length);
      };
      try {
        await speak("before,");
        await move({ waypoint: "b", on: "service", requires: true }, "/moved");
        await speak("moved,");
        const stopped = programs.a.program.stop(60_000);
        await programs.a.logged({ message: "draining" });
        await speak("draining");
        await answers("while it drains");
        long.end();
        tcp.finish();
        await until("the end of the stream", () => end !== "");
        assert.equal(end, "whole");
        assert.equal(await tcp.ended(), "end");
        assert.equal((await stopped).code, 0);
        await answers("after its end");
      } finally {
        http2.close();
        tcp.close();
      }
    });
  });
}
