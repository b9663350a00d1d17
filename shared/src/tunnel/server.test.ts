// The listener toward honest and merely clumsy peers; the hostile ones are in test/hostile.
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before as setUp, test } from "node:test";
import { connect as connectTls } from "node:tls";
import type { TLSSocket } from "node:tls";
import { testAuthority } from "@culvert/test/support/ca.ts";
import * as h2 from "@culvert/test/support/h2-raw.ts";
import { testIdentity } from "@culvert/test/support/identity.ts";
import { tunnelCast, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import type { Cast, TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { fail, isFailure } from "../failure/failure.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "./limits.ts";
import { listenTunnels } from "./server.ts";

import { stalledTunnels } from "./stalled.ts";
const END_BOTH = h2.FLAG.END_HEADERS | h2.FLAG.END_STREAM;

let cast: Cast;
let pair: TunnelPair;
setUp(async () => {
  cast = await tunnelCast();
  pair = await tunnelPair({ onRequest: (request) => void request.accept({ baggage: "k8s.namespace.name=default" }) });
});
after(() => pair.close());

test("hands over a request with the verified peer, both ends of the connection, and what was asked for", async () => {
  const asking = await tunnelPair();
  const opening = asking.pool.open(asking.target, {
    authority: "Reviews.Default:9080",
    headers: { forwarded: "for=x" },
  });
  const request = await asking.request();
  equal(request.peer.id, cast.client.svid.id);
  deepEqual({ ...request.authority }, { kind: "name", host: "reviews.default", port: 9080 });
  equal(request.rawAuthority, "Reviews.Default:9080");
  equal(request.headers["forwarded"], "for=x");
  deepEqual(request.local, { ip: "127.0.0.1", port: asking.server.address.port });
  equal(request.source.ip, "127.0.0.1");
  equal(request.accept({ baggage: "a=b" }), true);
  equal(request.accept(), false);
  const tunnel = await opening;
  ok(!isFailure(tunnel));
  equal(tunnel.headers["baggage"], "a=b");
  request.refuse(fail("POLICY_CHANGED", "after the answer"));
  await new Promise((resolve) => void tunnel.stream.once("close", resolve));
  equal(tunnel.stream.rstCode, 8);
  equal(request.accept(), false);
  await asking.close();
});

test("a refusal is a status, a code, and an end without a reset", async () => {
  const refusing = await tunnelPair({ onRequest: (request) => request.refuse(fail("DENIED_BY_POLICY", "no")) });
  const raw = await h2.connectRaw(refusing.server.address.port, cast.client);
  raw.send(h2.headers(1, h2.connectFields(), END_BOTH));
  equal(await raw.status(1), 401);
  raw.send(h2.ping());
  await raw.frame(({ type }) => type === h2.TYPE.PING);
  equal(
    raw.frames.some(({ type }) => type === h2.TYPE.RST_STREAM),
    false,
  );
  equal(refusing.server.streams, 0);
  raw.close();
  await refusing.close();
});

/** The library refuses the stream itself, with PROTOCOL_ERROR. */
const RESET = "reset 1";
const REFUSED: readonly (readonly [what: string, outcome: number | string, fields: readonly h2.Field[]])[] = [
  [
    "GET",
    400,
    [
      [":method", "GET"],
      [":scheme", "https"],
      [":path", "/"],
      [":authority", "10.0.0.1:80"],
    ],
  ],
  ["no port", 400, h2.connectFields("10.0.0.1")],
  ["port zero", 400, h2.connectFields("10.0.0.1:0")],
  ["octal", 400, h2.connectFields("0177.0.0.1:80")],
  ["mapped", 400, h2.connectFields("[::ffff:127.0.0.1]:15000")],
  ["user information", RESET, h2.connectFields("user@10.0.0.1:80")],
  ["another host", 400, [...h2.connectFields(), ["host", "10.0.0.2:80"]]],
  ["two hosts", RESET, [...h2.connectFields(), ["host", "10.0.0.1:80"], ["host", "10.0.0.1:80"]]],
  ["content-length", 400, [...h2.connectFields(), ["content-length", "3"]]],
  ["transfer-encoding", RESET, [...h2.connectFields(), ["transfer-encoding", "chunked"]]],
  ["a path", RESET, [...h2.connectFields(), [":path", "/"]]],
  ["no authority", RESET, [[":method", "CONNECT"]]],
  ["two authorities", RESET, [...h2.connectFields(), [":authority", "10.0.0.1:80"]]],
  ["upper case", RESET, [...h2.connectFields(), ["X-Upper", "1"]]],
  ["connection", RESET, [...h2.connectFields(), ["connection", "close"]]],
];

test("refuses what CONNECT must not be, and goes on with the session", async () => {
  const raw = await h2.connectRaw(pair.server.address.port, cast.client);
  let stream = 1;
  for (const [what, expected, fields] of REFUSED) {
    raw.send(h2.headers(stream, fields));
    equal(await raw.outcome(stream), expected, what);
    stream += 2;
  }
  raw.send(h2.headers(stream, [...h2.connectFields("10.0.0.1:80"), ["host", "10.0.0.1:80"], ["x-unknown", "1"]]));
  equal(await raw.status(stream), 200);
  raw.close();
});

test("refuses whoever is not a mesh peer, before any session", async () => {
  const stranger = await testIdentity(await testAuthority("stranger.test"), "default", "client");
  const twoNames = await testIdentity(cast.authority, "default", "client", [], {
    uris: ["spiffe://culvert.test/ns/default/sa/a", "spiffe://culvert.test/ns/default/sa/b"],
  }).catch(() => undefined);
  equal(twoNames, undefined);
  const { port } = pair.server.address;
  const opened = pair.serverEvents.filter(({ kind }) => kind === "session-opened").length;
  const refused = async (what: string, open: () => TLSSocket | Promise<TLSSocket>): Promise<void> => {
    const before = pair.serverEvents.filter(({ kind }) => kind === "session-refused").length;
    const socket = await open();
    socket.on("error", () => {});
    socket.write(h2.PREFACE);
    if (!socket.destroyed) await new Promise((resolve) => void socket.once("close", resolve));
    await until(what, () => pair.serverEvents.filter(({ kind }) => kind === "session-refused").length > before);
  };
  const own = { ca: cast.authority.bundlePem, rejectUnauthorized: false, ALPNProtocols: ["h2"] };
  const svid = { cert: cast.client.svid.chainPem, key: cast.client.svid.keyPem };
  const at = { host: "127.0.0.1", port };
  await refused("no certificate", () => connectTls({ ...at, ...own }));
  await refused("another authority", () =>
    connectTls({ ...at, ...own, cert: stranger.svid.chainPem, key: stranger.svid.keyPem }),
  );
  await refused("TLS 1.2", () => connectTls({ ...at, ...own, ...svid, maxVersion: "TLSv1.2" }));
  await refused("no ALPN", () => connectTls({ ...at, ...own, ...svid, ALPNProtocols: [] }));
  await refused("HTTP/1.1", () => connectTls({ ...at, ...own, ...svid, ALPNProtocols: ["http/1.1"] }));
  const plain = connect(port, "127.0.0.1");
  plain.on("error", () => {}).write(h2.PREFACE);
  await new Promise((resolve) => void plain.once("close", resolve));
  equal(pair.serverEvents.filter(({ kind }) => kind === "session-opened").length, opened);
});

test("resumes no session, for that would skip the certificate", async () => {
  const first = await h2.connectSecure(pair.server.address.port, cast.client);
  const raw = new h2.RawH2(first);
  raw.send(h2.PREFACE, h2.settings());
  await raw.frame(({ type }) => type === h2.TYPE.SETTINGS);
  const session = first.getSession();
  raw.close();
  const second = await h2.connectSecure(
    pair.server.address.port,
    cast.client,
    session === undefined ? {} : { session },
  );
  equal(second.isSessionReused(), false);
  second.destroy();
});

test("announces its limits and holds the peer to them", async () => {
  const few = await tunnelPair({
    serverLimits: { maxConcurrentStreams: 2 },
    onRequest: (request) => void request.accept(),
  });
  const raw = await h2.connectRaw(few.server.address.port, cast.client);
  const announced = raw.frames.find(({ type }) => type === h2.TYPE.SETTINGS)?.payload ?? Buffer.alloc(0);
  const values = new Map<number, number>();
  for (let at = 0; at < announced.length; at += 6)
    values.set(announced.readUInt16BE(at), announced.readUInt32BE(at + 2));
  deepEqual(
    [h2.SETTING.HEADER_TABLE_SIZE, h2.SETTING.MAX_CONCURRENT_STREAMS, h2.SETTING.INITIAL_WINDOW_SIZE, 5, 6].map((id) =>
      values.get(id),
    ),
    [4_096, 2, limits.streamWindow, limits.maxFrameSize, limits.maxHeaderListSize],
  );
  raw.close();
  // Before the acknowledgement the peer may not know better; after it the session ends, as with Envoy.
  const unaware = await h2.connectRaw(few.server.address.port, cast.client, false);
  for (const stream of [1, 3, 5]) unaware.send(h2.headers(stream, h2.connectFields()));
  equal(await unaware.resetCode(5), 7);
  equal(await unaware.status(3), 200);
  unaware.send(h2.settingsAck(), h2.headers(7, h2.connectFields()));
  await unaware.end();
  equal(unaware.goawayCode, 1);
  await few.close();
});

test("a new certificate serves new handshakes; old sessions are told to go, and their tunnels go on", async () => {
  const clock = new FakeClock(Date.now());
  const rotating = await tunnelPair({
    clock,
    limits: { pingIntervalMs: 1e12 },
    onRequest: (request) => {
      request.accept();
      request.stream.on("data", (chunk) => void request.stream.write(chunk));
    },
  });
  const tunnel = await rotating.open();
  await until("SETTINGS", () => !tunnel.stream.session?.pendingSettingsAck);
  const next = await testIdentity(cast.authority, "default", "server");
  rotating.serverSource.replace(next);
  const fresh = await h2.connectSecure(rotating.server.address.port, cast.client);
  equal(fresh.getPeerX509Certificate()?.serialNumber, next.svid.chain[0]?.serialNumber);
  fresh.destroy();
  clock.advance(limits.rotationDrainMs + 1_000);
  await until("the GOAWAY", () => tunnel.stream.session?.closed);
  tunnel.stream.write("still here");
  equal(String((await once(tunnel.stream, "data"))[0]), "still here");
  const second = await rotating.open();
  ok(second.stream.session !== tunnel.stream.session);
  await rotating.close();
});

test("a peer whose certificate ends is cut off, with its tunnels", async () => {
  const clock = new FakeClock(Date.now());
  const serving = await tunnelPair({
    clock,
    limits: { pingIntervalMs: 1e12 },
    onRequest: (request) => void request.accept(),
  });
  const brief = await testIdentity(cast.authority, "default", "client", [], {
    notAfter: new Date(Date.now() + 60_000),
  });
  const raw = await h2.connectRaw(serving.server.address.port, brief);
  raw.send(h2.headers(1, h2.connectFields()));
  equal(await raw.status(1), 200);
  await until("SETTINGS", () =>
    raw.frames.some(({ type, flags }) => type === h2.TYPE.SETTINGS && flags === h2.FLAG.ACK),
  );
  clock.advance(59_000);
  equal(raw.closed, false);
  clock.advance(2_000);
  await raw.frame(({ type }) => type === h2.TYPE.GOAWAY);
  clock.advance(1_000);
  await raw.end();
  equal(serving.serverEvents.at(-1)?.failure?.code, "IDENTITY_EXPIRED");
  await serving.close();
});

test("drain sends GOAWAY and lets tunnels go on to their end; sessions are taken until the port is closed", async () => {
  const draining = await tunnelPair({ onRequest: (request) => void (request.accept(), request.stream.resume()) });
  const tunnel = await draining.open();
  draining.server.drain();
  await until("the GOAWAY", () => tunnel.stream.session?.closed);
  equal(tunnel.stream.closed, false);
  const late = await draining.open();
  draining.server.stopAccepting();
  await until("the GOAWAY", () => late.stream.session?.closed);
  late.stream.close();
  const refused = await draining.pool.open(draining.target, { authority: "10.0.0.1:80", headers: {} });
  ok(isFailure(refused) && refused.code === "PEER_REFUSED");
  tunnel.stream.resume().end("last words");
  await until("the session to end", () => draining.server.streams === 1);
  tunnel.stream.close();
  await until("the session to end", () => draining.server.sessions === 0);
  await draining.close();
});

test("sessions and handshakes are bounded, and the slowest handshake makes room", async () => {
  const small = await tunnelPair({
    serverLimits: { maxSessions: 2, maxHandshakes: 3 },
    onRequest: (request) => void request.accept(),
  });
  const { port } = small.server.address;
  const slow = Array.from({ length: 4 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  await new Promise((resolve) => void slow[0]?.once("close", resolve));
  ok(await small.open());
  for (const socket of slow) socket.destroy();
  const second = await h2.connectRaw(port, cast.client);
  const third = await h2.connectSecure(port, cast.client);
  await new Promise((resolve) => void third.once("close", resolve));
  equal(small.serverEvents.at(-1)?.failure?.code, "TOO_MANY_CONNECTIONS");
  second.close();
  await small.close();
});

test("one identity, and one address, is bounded in what it may hold", async () => {
  const small = await tunnelPair({
    serverLimits: { maxSessionsPerPeer: 1, maxTunnelsPerPeer: 2, maxHandshakesPerAddress: 2 },
    onRequest: (request) => void request.accept(),
  });
  const { port } = small.server.address;
  const slow = Array.from({ length: 3 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  await new Promise((resolve) => void slow[0]?.once("close", resolve));
  for (const socket of slow) socket.destroy();
  const tunnels = [await small.open(), await small.open()];
  const third = await small.pool.open(small.target, { authority: "10.0.0.1:80", headers: {} });
  ok(isFailure(third));
  equal(third.code, "PEER_UNAVAILABLE");
  match(third.detail, /503 TOO_MANY_CONNECTIONS/);
  tunnels[0]?.stream.resume().close();
  await until("a place", () => small.server.streams < 2);
  ok(await small.open());
  // Another session of the same identity; the one that is there goes on.
  const raw = await h2.connectSecure(port, cast.client);
  await new Promise((resolve) => void raw.once("close", resolve));
  equal(small.serverEvents.at(-1)?.failure?.code, "TOO_MANY_CONNECTIONS");
  equal(tunnels[1]?.stream.closed, false);
  await small.close();
});

test("while stalled tunnels may hold too much, new ones are refused at both ends", async () => {
  const budget = { stalledBudget: 3 * 1024 * 1024, streamWindow: 1024 * 1024 };
  const small = await tunnelPair({ limits: budget, onRequest: (request) => void request.accept() });
  const tunnel = await small.open();
  stalledTunnels.count += 3;
  const refused = await small.pool.open(small.target, { authority: "10.0.0.1:80", headers: {} });
  ok(isFailure(refused));
  equal(refused.code, "OVERLOADED");
  stalledTunnels.count -= 3;
  ok(await small.open());
  equal(tunnel.stream.closed, false);
  await small.close();
});

test("a port that is taken is a failure with its name", async () => {
  const { host, port } = pair.server.address;
  const second = await listenTunnels({
    host,
    port,
    identity: pair.serverSource,
    limits,
    clock: new FakeClock(),
    onRequest: () => {},
    onEvent: () => {},
  });
  ok(isFailure(second));
  equal(second.code, "PORT_UNAVAILABLE");
  equal(second.detail, `cannot listen on ${host}:${port}: EADDRINUSE`);
});
