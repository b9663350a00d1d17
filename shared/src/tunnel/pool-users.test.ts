// Several users of one pool: what one of them is held up by, the others are not.
import { deepEqual, equal, ok } from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { LOOPBACK, tunnelPair, type PairOptions, type TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure, type Failure } from "../failure/failure.ts";
import type { PoolUser } from "./pool-shares.ts";
import type { OpenTunnel } from "./pool.ts";

const REQUEST = { authority: "10.0.0.1:80", headers: {} };

const user = (): PoolUser => ({ dials: 0, waiting: 0 });

interface Peers {
  readonly pair: TunnelPair;
  /** Connections of dials to peers that take them and say nothing. */
  readonly silent: Socket[];
  /** Opens tunnels for a user to so many peers that say nothing; more of them to others. */
  readonly hang: (who: PoolUser, count: number) => Promise<OpenTunnel | Failure>[];
}

async function peers(context: TestContext, limits: PairOptions["limits"]): Promise<Peers> {
  const pair = await tunnelPair({ onRequest: (request) => void request.accept(), limits: { ...limits } });
  const silent: Socket[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    silent.push(socket.resume());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(async () => {
    await pair.close();
    for (const socket of silent) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const [id] = pair.target.expected;
  let expectations = 0;
  const hang: Peers["hang"] = (who, count) =>
    Array.from({ length: count }, () => {
      // Another expectation is another peer.
      const expected = Array.from({ length: (expectations += 1) }, () => id).filter((each) => each !== undefined);
      return pair.pool.open({ ip: LOOPBACK, port, expected }, REQUEST, who);
    });
  return { pair, silent, hang };
}

test("one whose peers hang holds half of the dials, and the others dial as before", async (context) => {
  const { pair, silent, hang } = await peers(context, { maxDials: 8 });
  const [noisy, quiet] = [user(), user()];
  void hang(noisy, 20);
  await until("the dials", () => silent.length === 4);
  deepEqual([noisy.dials, noisy.waiting, pair.pool.stats().dials], [4, 20, 4]);
  ok(!isFailure(await pair.pool.open(pair.target, REQUEST, quiet)));
  deepEqual([quiet, noisy.dials], [{ dials: 0, waiting: 0 }, 4]);
});

test("a peer that one is over its share for is dialled for another who asks, and both have it", async (context) => {
  const { pair, silent, hang } = await peers(context, { maxDials: 4 });
  const [noisy, quiet] = [user(), user()];
  void hang(noisy, 5);
  await until("the dials", () => silent.length === 2);
  const waits = pair.pool.open(pair.target, REQUEST, noisy);
  equal(pair.pool.stats().dials, 2);
  const asks = pair.pool.open(pair.target, REQUEST, quiet);
  equal(quiet.dials, 1);
  for (const tunnel of await Promise.all([waits, asks])) ok(!isFailure(tunnel));
});

test("what waits for a share goes on when a dial of the same user ends", async (context) => {
  const { pair, silent, hang } = await peers(context, { maxDials: 4 });
  const noisy = user();
  const all = hang(noisy, 5);
  for (let ended = 0; ended < 5; ended += 1) {
    await until("the next dial", () => silent.length > ended);
    ok(noisy.dials <= 2);
    silent[ended]?.destroy();
  }
  for (const opened of await Promise.all(all)) ok(isFailure(opened) && opened.code === "PEER_TLS_FAILURE");
  deepEqual([noisy, pair.pool.stats().waiting], [{ dials: 0, waiting: 0 }, 0]);
});

test("one may fill half of the places to wait in, and is told; who is the only one may fill them all", async (context) => {
  const { pair, hang } = await peers(context, { maxWaiters: 8 });
  const [noisy, quiet] = [user(), user()];
  const asked = hang(noisy, 6);
  for (const refused of await Promise.all(asked.slice(4))) {
    ok(isFailure(refused) && refused.code === "TENANT_OVER_SHARE");
  }
  equal(noisy.waiting, 4);
  ok(!isFailure(await pair.pool.open(pair.target, REQUEST, quiet)));
  const alone = Array.from({ length: 4 }, () => pair.pool.open({ ...pair.target, port: 1 }, REQUEST));
  equal(pair.pool.stats().waiting, 8);
  const full = await pair.pool.open({ ...pair.target, port: 2 }, REQUEST);
  ok(isFailure(full) && full.code === "TOO_MANY_WAITERS");
  await Promise.all(alone);
});

test("a pool of one dial serves its users one after another", async (context) => {
  const { pair } = await peers(context, { maxDials: 1 });
  const opening = [user(), user()].map((who) => pair.pool.open(pair.target, REQUEST, who));
  for (const tunnel of await Promise.all(opening)) ok(!isFailure(tunnel));
});
