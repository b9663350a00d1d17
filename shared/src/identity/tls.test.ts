import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { connect, createServer } from "node:tls";
import type { ConnectionOptions, Server, TLSSocket } from "node:tls";
import { mint, mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import { identityOf, must, staticSource, testIdentity } from "@culvert/test/support/identity.ts";
import { isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { systemClock } from "../net/clock.ts";
import type { Identity } from "./source.ts";
import { TlsContexts } from "./tls.ts";
import { peerOfSocket } from "./verify.ts";
import type { VerifiedPeer } from "./verify.ts";

const ours = await testAuthority("ours.test");
const theirs = await testAuthority("theirs.test");
const serverIdentity = await testIdentity(ours, "default", "server");
const clientIdentity = await testIdentity(ours, "default", "client");
const serverName = svidName(ours, "default", "server");
const clientName = svidName(ours, "default", "client");

/** What one side knows after a handshake. */
interface Side {
  readonly peer: VerifiedPeer | Failure;
  readonly socket: TLSSocket;
}

/** The handshake's end: both sides, or the reason why there was none. */
interface Meeting {
  readonly client: Side | string;
  readonly server: Side | string;
}

const servers = new Set<Server>();
after(() => {
  for (const server of servers) server.close();
});

async function listen(contexts: TlsContexts): Promise<Server> {
  const server = createServer(contexts.serverOptions());
  servers.add(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Dials `server` and waits until both sides have finished the handshake or given up. */
async function meet(server: Server, serves: Identity, dials: Identity, options: ConnectionOptions): Promise<Meeting> {
  const { port } = server.address() as AddressInfo;
  const serverSide = new Promise<Side | string>((resolve) => {
    server.once("secureConnection", (socket) => {
      socket.on("error", () => {});
      // TLS 1.3: only bytes from the server tell the client that its certificate was accepted.
      socket.write("!");
      resolve({ socket, peer: peerOfSocket(socket, serves, systemClock, "client") });
    });
    // Node hangs up on a certificate that OpenSSL refuses, and tells why on the socket only.
    server.once("tlsClientError", (error, socket) => resolve(`${socket.authorizationError ?? error.message}`));
  });
  const clientSide = new Promise<Side | string>((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, ...options });
    socket.on("error", (error) => resolve(error.message));
    socket.on("close", () => resolve("closed"));
    socket.once("data", () => resolve({ socket, peer: peerOfSocket(socket, dials, systemClock, "server") }));
  });
  const [client, served] = await Promise.all([clientSide, serverSide]);
  server.removeAllListeners("secureConnection").removeAllListeners("tlsClientError");
  for (const side of [client, served]) if (typeof side !== "string") side.socket.destroy();
  return { client, server: served };
}

/** A meeting of two identities with the mesh's options on both sides, but for `change` on the client's. */
async function meetAs(serves: Identity, dials: Identity, change: ConnectionOptions = {}): Promise<Meeting> {
  const server = await listen(new TlsContexts(staticSource(serves)));
  const client = new TlsContexts(staticSource(dials)).clientOptions();
  return meet(server, serves, dials, { ...client, ...change });
}

/** The client's options without the shared context, so that a test can make a client that no mesh would have. */
function loose(dials: Identity, change: ConnectionOptions): ConnectionOptions {
  return {
    cert: dials.svid.chainPem,
    key: dials.svid.keyPem,
    ca: [...dials.bundles.values()].map((bundle) => bundle.pem),
    ALPNProtocols: ["h2"],
    servername: "",
    checkServerIdentity: () => undefined,
    secureContext: undefined,
    ...change,
  };
}

function refusedBy(side: Side | string, reason: RegExp): void {
  if (typeof side === "string") assert.match(side, reason);
  else assert(isFailure(side.peer) && reason.test(side.peer.toString()), "must be refused");
}

test("two mesh peers know each other, over TLS 1.3 with h2, without SNI, by the post-quantum group", async () => {
  const server = await listen(new TlsContexts(staticSource(serverIdentity)));
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, "secureConnection") as Promise<[TLSSocket]>;
  const client = connect({ host: "127.0.0.1", port, ...new TlsContexts(staticSource(clientIdentity)).clientOptions() });
  await once(client, "secureConnect");
  const [served] = await accepted;
  assert.equal(must(peerOfSocket(served, serverIdentity, systemClock, "client")).id, clientName);
  assert.equal(must(peerOfSocket(client, clientIdentity, systemClock, "server")).id, serverName);
  assert.equal(client.getProtocol(), "TLSv1.3");
  assert.equal(client.getCipher().name, "TLS_AES_256_GCM_SHA384");
  assert.equal(client.alpnProtocol, "h2");
  assert.deepEqual(client.getEphemeralKeyInfo(), { type: "TLSGroup", name: "X25519MLKEM768", size: undefined });
  assert.equal((served as TLSSocket & { servername?: unknown }).servername, false);
  client.destroy();
  served.destroy();
});

for (const [offered, agreed] of [
  ["X25519:P-256:X25519MLKEM768", "X25519MLKEM768"],
  ["X25519:P-256", "X25519"],
  ["P-256", "prime256v1"],
] as const) {
  test(`a client that offers ${offered} gets ${agreed}`, async () => {
    const server = await listen(new TlsContexts(staticSource(serverIdentity)));
    const options = loose(clientIdentity, { ecdhCurve: offered });
    let name: unknown;
    const { port } = server.address() as AddressInfo;
    const client = connect({ host: "127.0.0.1", port, ...options });
    await once(client, "secureConnect");
    ({ name } = client.getEphemeralKeyInfo() as { name?: string });
    client.destroy();
    assert.equal(name, agreed);
  });
}

test("a longer chain reaches the check whole", async () => {
  const upper = await mint(ours.root, {
    subject: "CN=Upper",
    ca: {},
    keyUsage: ["keyCertSign"],
    extendedKeyUsage: [],
  });
  const lower = await mint(upper, { subject: "CN=Lower", ca: {}, keyUsage: ["keyCertSign"], extendedKeyUsage: [] });
  const deep = identityOf(await mint(lower, { uris: [clientName] }), [ours]);
  const { server } = await meetAs(serverIdentity, deep);
  assert(typeof server !== "string");
  assert.equal(must(server.peer).id, clientName);
});

test("federated peers know each other by the bundle of each other's domain", async () => {
  const serves = await testIdentity(ours, "default", "server", [theirs]);
  const dials = await testIdentity(theirs, "default", "client", [ours]);
  const { client, server } = await meetAs(serves, dials);
  assert(typeof client !== "string" && typeof server !== "string");
  assert.equal(must(client.peer).id, serverName);
  assert.equal(must(server.peer).id, "spiffe://theirs.test/ns/default/sa/client");
});

/** I7: what is less than the mesh's TLS. */
const downgrades: readonly [what: string, change: ConnectionOptions, reason: RegExp][] = [
  ["TLS 1.2", { maxVersion: "TLSv1.2" }, /unsupported protocol|protocol version/],
  ["ChaCha20 only", { ciphers: "TLS_CHACHA20_POLY1305_SHA256" }, /no shared cipher|handshake failure/],
  ["ALPN http/1.1", { ALPNProtocols: ["http/1.1"] }, /no application protocol/],
  ["no ALPN", { ALPNProtocols: undefined }, /ALPN h2/],
  ["no certificate", { cert: undefined, key: undefined }, /peer did not return a certificate|certificate required/],
  ["P-521 only", { ecdhCurve: "P-521" }, /no suitable key share|handshake failure/],
];

for (const [what, change, reason] of downgrades) {
  test(`a client is refused: ${what}`, async () => {
    const { server } = await meet(
      await listen(new TlsContexts(staticSource(serverIdentity))),
      serverIdentity,
      clientIdentity,
      loose(clientIdentity, change),
    );
    refusedBy(server, reason);
  });
}

test("plain bytes on the mesh port are refused", async () => {
  const server = await listen(new TlsContexts(staticSource(serverIdentity)));
  const { port } = server.address() as AddressInfo;
  const { connect: connectTcp } = await import("node:net");
  const failed = once(server, "tlsClientError") as Promise<[Error]>;
  const socket = connectTcp(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  const [error] = await failed;
  assert.match(error.message, /http request|wrong version number/);
  socket.destroy();
});

/** I2 to I4 on the wire: both sides refuse a peer that OpenSSL alone may let in. */
test("a peer of another trust domain without a bundle is refused by either side", async () => {
  const foreign = await testIdentity(theirs, "default", "evil", [ours]);
  refusedBy((await meetAs(serverIdentity, foreign)).server, /UNABLE_TO_GET_ISSUER|unable to get local issuer/);
  refusedBy((await meetAs(foreign, clientIdentity)).client, /UNABLE_TO_GET_ISSUER|unable to get local issuer/);
});

test("a foreign authority that signs one of our names passes OpenSSL and is refused by either side", async () => {
  const forged = identityOf(await mint(theirs.intermediate, { uris: [clientName] }), [ours, theirs]);
  const serves = await testIdentity(ours, "default", "server", [theirs]);
  const { server } = await meetAs(serves, forged);
  assert(typeof server !== "string", "OpenSSL lets it in");
  refusedBy(server, /no chain to the bundle/);
  refusedBy((await meetAs(forged, serves)).client, /no chain to the bundle/);
});

test("a second URI name passes OpenSSL and is refused by either side", async () => {
  const minted = await mintSvid(ours, clientName, { uris: [clientName, svidName(ours, "default", "admin")] });
  const good = await mintSvid(ours, clientName);
  // Our own reader would not load such an identity, so it is put together by hand.
  const twoNames: Identity = {
    ...identityOf(good, [ours]),
    svid: { ...identityOf(good, [ours]).svid, chainPem: minted.chainPem, keyPem: minted.keyPem },
  };
  const { server } = await meetAs(serverIdentity, twoNames);
  assert(typeof server !== "string", "OpenSSL lets it in");
  refusedBy(server, /2 URI names/);
  refusedBy((await meetAs(twoNames, clientIdentity)).client, /2 URI names/);
});

/** I1: a session is never taken up again. */
test("no session is resumed, even by a client that kept one", async () => {
  const server = await listen(new TlsContexts(staticSource(serverIdentity)));
  const { port } = server.address() as AddressInfo;
  const options = loose(clientIdentity, {});
  const sessions: Buffer[] = [];
  server.on("secureConnection", (socket) => socket.on("error", () => {}).end("!"));
  const first = connect({ host: "127.0.0.1", port, ...options });
  first.on("session", (session: Buffer) => sessions.push(session));
  first.resume();
  await once(first, "close");
  const [session] = sessions;
  assert(session !== undefined, "OpenSSL hands out a session all the same");
  const again = connect({ host: "127.0.0.1", port, ...options, session });
  again.resume();
  await once(again, "secureConnect");
  assert.equal(again.isSessionReused(), false);
  await once(again, "close");
  // Without its certificate, the session must not open the door either.
  const { cert: _cert, key: _key, ...anonymous } = options;
  const nobody = connect({ host: "127.0.0.1", port, ...anonymous, session });
  const [error] = (await once(nobody, "error")) as [Error];
  assert.match(error.message, /certificate required/);
});

test("a resumed session is refused after the handshake, whoever allowed it", async () => {
  // A server that does hand out tickets, as another build or a wrong option might.
  const contexts = new TlsContexts(staticSource(serverIdentity));
  const server = createServer({ ...contexts.serverOptions(), secureOptions: 0 });
  servers.add(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const verdicts: (VerifiedPeer | Failure)[] = [];
  server.on("secureConnection", (socket) => {
    verdicts.push(peerOfSocket(socket, serverIdentity, systemClock, "client"));
    socket.on("error", () => {}).end("!");
  });
  const { port } = server.address() as AddressInfo;
  const options = loose(clientIdentity, {});
  const sessions: Buffer[] = [];
  const first = connect({ host: "127.0.0.1", port, ...options });
  first.on("session", (session: Buffer) => sessions.push(session)).resume();
  await once(first, "close");
  const [session] = sessions;
  assert(session !== undefined);
  const again = connect({ host: "127.0.0.1", port, ...options, session });
  again.resume();
  await once(again, "secureConnect");
  assert.equal(again.isSessionReused(), true);
  refusedBy({ socket: again, peer: peerOfSocket(again, clientIdentity, systemClock, "server") }, /resumed/);
  await once(again, "close");
  assert.equal(verdicts.length, 2);
  assert(isFailure(verdicts[1]) && verdicts[1].detail.includes("resumed"));
});

test("a certificate that ends while OpenSSL is not looking is refused by our clock", async () => {
  const { client } = await meetAs(serverIdentity, clientIdentity);
  assert(typeof client !== "string");
  const later = { ...systemClock, now: () => serverIdentity.svid.notAfter + 1 };
  const server = await listen(new TlsContexts(staticSource(serverIdentity)));
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port, ...new TlsContexts(staticSource(clientIdentity)).clientOptions() });
  await once(socket, "secureConnect");
  const verdict = peerOfSocket(socket, clientIdentity, later, "server");
  socket.destroy();
  assert(isFailure(verdict));
  assert.equal(verdict.code, "IDENTITY_EXPIRED");
});

test("one context serves all connections of one identity version, and a new version gets a new one", async () => {
  const source = staticSource(clientIdentity);
  const contexts = new TlsContexts(source);
  const before = contexts.secureContext();
  assert.equal(contexts.secureContext(), before);
  assert.equal(contexts.clientOptions().secureContext, before);
  source.replace(await testIdentity(ours, "default", "client"));
  assert.notEqual(contexts.secureContext(), before);
});

test("a server takes a new identity for new handshakes", async () => {
  const source = staticSource(serverIdentity);
  const contexts = new TlsContexts(source);
  const server = await listen(contexts);
  const next = await testIdentity(ours, "default", "renamed");
  source.replace(next);
  server.setSecureContext(contexts.serverOptions());
  const { client } = await meet(
    server,
    next,
    clientIdentity,
    new TlsContexts(staticSource(clientIdentity)).clientOptions(),
  );
  assert(typeof client !== "string");
  assert.equal(must(client.peer).id, next.svid.id);
});
