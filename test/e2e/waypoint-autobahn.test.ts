// The cases of the Autobahn testsuite against an echo server of WebSocket, once straight and once through a waypoint: what a server does
// about frames of every kind, good and bad, must not depend on what is between. Needs the cases; the client is in `test/tools/autobahn`.
import assert from "node:assert/strict";
import type { Server } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { WebSocketServer } from "ws";
import { serveHttp } from "../support/apps.ts";
import { command, REPOSITORY } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { run } from "../support/process.ts";
import { service } from "../support/resources.ts";
import { startShop, type Shop } from "../support/shop.ts";

const ECHO = { port: 8100, targetPort: 8183 } as const;
const CLIENT = join(REPOSITORY, "test/tools/autobahn/fuzzing_client.py");
/** All sections but 12 and 13 (compression), without what never ends; the large messages by themselves. */
const PARTS = [
  { sections: ["1", "2", "3", "4", "5", "6", "7", "10"], cases: 247 },
  { sections: ["9"], cases: 54 },
] as const;
const AT_A_TIME = 12;

/** What came of one case. */
interface Outcome {
  readonly case: string;
  readonly behavior: string;
  readonly close: string;
  readonly result: string;
}

/** An echo server that takes the largest messages and the most fragments of the cases. */
function echo(server: Server): void {
  const limits = { maxPayload: 64 * 1024 * 1024, maxFragments: 0, maxBufferedChunks: 0 };
  new WebSocketServer({ server, ...limits }).on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
}

/** Runs the cases of some sections. */
async function outcomes(host: string, port: number, sections: readonly string[]): Promise<Map<string, Outcome>> {
  const { code, stdout, stderr } = await run(
    command("autobahn-cases"),
    [CLIENT, host, String(port), String(AT_A_TIME), ...sections],
    { name: "autobahn" },
  );
  assert.equal(code, 0, stderr);
  const told = stdout.split("\n").filter(Boolean);
  return new Map(told.map((line) => JSON.parse(line) as Outcome).map((outcome) => [outcome.case, outcome]));
}

describe("Autobahn's cases through a waypoint", needs({ commands: ["autobahn-cases", "python3"] }), () => {
  let shop: Shop;

  before(async () => {
    const labels = { "istio.io/use-waypoint": "waypoint" };
    shop = await startShop({
      more: () => [service("echo", [{ name: "http", ...ECHO, appProtocol: "http" }], { labels, app: "shop" })],
      listeners: () => ({ [ECHO.port]: `echo:${ECHO.port}` }),
    });
    await shop.mesh.with(
      serveHttp(shop.addresses.apps[0], ECHO.targetPort, (_, response) => response.writeHead(426).end(), echo),
    );
  });

  after(() => shop.mesh.stop());

  for (const { sections, cases } of PARTS) {
    let straight = new Map<string, Outcome>();

    test(`sections ${sections.join(", ")}: no case fails without a waypoint`, async () => {
      straight = await outcomes(shop.addresses.apps[0], ECHO.targetPort, sections);
      assert.equal(straight.size, cases);
      for (const [name, { behavior, close, result }] of straight) {
        assert.ok(["OK", "NON-STRICT", "INFORMATIONAL"].includes(behavior), `${name}: ${result}`);
        assert.ok(["OK", "INFORMATIONAL"].includes(close), `${name}: ${result}`);
      }
    });

    test(`sections ${sections.join(", ")}: each case comes to the same end through one`, async () => {
      const through = await outcomes(shop.client.inside, ECHO.port, sections);
      assert.equal(through.size, cases);
      for (const [name, { behavior, close, result }] of through) {
        const other = straight.get(name);
        assert.deepEqual([behavior, close], [other?.behavior, other?.close], `${name}: ${result}`);
      }
    });
  }
});
