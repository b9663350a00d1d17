// Sessions inside tunnels: the way to another network leads through a gateway that carries them and sees nothing.
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { startGateway } from "@culvert/test/support/gateway.ts";
import type { TestGateway } from "@culvert/test/support/gateway.ts";
import { staticSource, testIdentity } from "@culvert/test/support/identity.ts";
import { LOOPBACK, must, tunnelCast, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import type { TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { OpenTunnel, TunnelTarget } from "./pool.ts";

const AUTHORITY = "reviews.default.svc.cluster.local:80";
const REQUEST = { authority: AUTHORITY, headers: { "x-forwarded-network": "one" } };

interface Networks {
  readonly pair: TunnelPair;
  readonly gateway: TestGateway;
  readonly target: TunnelTarget;
}

/** A peer behind a gateway; the peer accepts whatever comes and sends back what it is sent. */
async function networks(context: TestContext): Promise<Networks> {
  const { authority } = await tunnelCast();
  const identity = await testIdentity(authority, "default", "gateway");
  const pair = await tunnelPair({
    onRequest: (request) => {
      if (request.accept()) request.stream.on("data", (chunk: Buffer) => void request.stream.write(chunk));
    },
  });
  const behind = { [AUTHORITY]: [{ host: "127.0.0.1", port: pair.server.address.port }] };
  const gateway = await startGateway("127.0.0.1", 0, staticSource(identity), behind);
  context.after(async () => {
    await pair.close();
    gateway.server.close();
  });
  const via = { expected: [identity.svid.id], authority: AUTHORITY, peers: 1 };
  const target = { ip: LOOPBACK, port: gateway.server.address.port, expected: pair.target.expected, via };
  return { pair, gateway, target };
}

function codeOf(opened: OpenTunnel | Failure): string {
  return isFailure(opened) ? opened.code : "open";
}

test("a tunnel inside a tunnel reaches the peer, which is who answers, byte for byte", async (context) => {
  const { pair, target } = await networks(context);
  const { stream, peer } = must(await pair.pool.open(target, REQUEST));
  equal(peer.id, pair.target.expected[0]);
  const sent = Buffer.alloc(300_000, "abc");
  let received = 0;
  stream.on("data", (chunk: Buffer) => void (received += chunk.length));
  stream.write(sent);
  await until("all bytes back", () => received === sent.length);
});

test("the second tunnel takes no handshake, neither outside nor inside", async (context) => {
  const { pair, gateway, target } = await networks(context);
  for (let count = 0; count < 5; count += 1) equal(codeOf(await pair.pool.open(target, REQUEST)), "open");
  deepEqual([gateway.asked, gateway.sessions], [[AUTHORITY], 1]);
  equal(pair.serverEvents.filter(({ kind }) => kind === "session-opened").length, 1);
});

test("many at once share one dial", async (context) => {
  const { pair, gateway, target } = await networks(context);
  const opened = await Promise.all(Array.from({ length: 20 }, () => pair.pool.open(target, REQUEST)));
  ok(opened.every((each) => codeOf(each) === "open"));
  equal(gateway.asked.length, 1);
});

test("tunnels are spread over sessions of which each may end at another peer, and no more of them are opened", async (context) => {
  const { pair, gateway, target: one } = await networks(context);
  ok(one.via !== undefined);
  const target = { ...one, via: { ...one.via, peers: 3 } };
  const used = new Set<unknown>();
  const openOne = async (): Promise<void> => {
    const { stream } = must(await pair.pool.open(target, REQUEST));
    used.add(stream.session);
    stream.close();
    await until("the end of the tunnel", () => stream.closed);
  };
  await until("a session for each", async () => {
    await openOne();
    return used.size === 3;
  });
  for (let count = 0; count < 12; count += 1) await openOne();
  deepEqual([used.size, gateway.asked.length, gateway.sessions], [3, 3, 1]);
});

test("both must prove who they are: the gateway, and the peer behind it", async (context) => {
  const { pair, gateway, target } = await networks(context);
  const [other] = target.via?.expected ?? [];
  ok(other !== undefined);
  equal(codeOf(await pair.pool.open({ ...target, expected: [other] }, REQUEST)), "IDENTITY_MISMATCH");
  const asked = gateway.asked.length;
  const via = { expected: target.expected, authority: AUTHORITY, peers: 1 };
  equal(codeOf(await pair.pool.open({ ...target, via }, REQUEST)), "IDENTITY_MISMATCH");
  equal(gateway.asked.length, asked, "a gateway that is another's is asked for nothing");
});

test("what the gateway does not know is its refusal, and a gateway that is gone its silence", async (context) => {
  const { pair, gateway, target } = await networks(context);
  const via = { expected: target.via?.expected ?? [], authority: "nobody.default.svc.cluster.local:80", peers: 1 };
  const refused = await pair.pool.open({ ...target, via }, REQUEST);
  equal(codeOf(refused), "PEER_NO_DESTINATION");
  gateway.server.close();
  await until("the outer session is gone", () => pair.pool.stats().sessions === 0);
  const gone = await pair.pool.open(target, REQUEST);
  equal(codeOf(gone), "PEER_REFUSED");
  match(isFailure(gone) ? gone.toString() : "", /ECONNREFUSED/);
});

test("a gateway that goes away resets what it carried", async (context) => {
  const { pair, gateway, target } = await networks(context);
  const { stream } = must(await pair.pool.open(target, REQUEST));
  stream.on("error", () => {});
  gateway.server.close();
  await until("the inner tunnel is reset", () => stream.destroyed);
  await until("nothing is kept", () => pair.pool.stats().sessions === 0);
});
