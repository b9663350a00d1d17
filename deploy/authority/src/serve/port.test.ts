// The port in this process, with a clock that the test moves: lives, deadlines, rates, and what ends a session.
import assert from "node:assert/strict";
import { X509Certificate, createPrivateKey, createPublicKey } from "node:crypto";
import { test, type TestContext } from "node:test";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import { askCertificate, joinAs, newRequest, sessionOf, watchTrust } from "@culvert/test/support/authority.ts";
import { answerOf, beginCall, grpcSession } from "@culvert/test/support/grpc.ts";
import { testAuthority } from "@culvert/test/support/ca.ts";
import { mintCrl } from "@culvert/test/support/crl.ts";
import { must } from "@culvert/test/support/must.ts";
import { until, within } from "@culvert/test/support/until.ts";
import { revocationListsFromDers, takeRevocations } from "@culvert/shared/identity/trust/revocations.ts";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import { DOMAIN, testPort } from "./port-fixtures.ts";
import type { TestPort } from "./port-fixtures.ts";

const HOUR_MS = 3_600_000;
const CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

type Session = Awaited<ReturnType<typeof grpcSession>>;

async function anonymous(context: TestContext, port: TestPort): Promise<Session> {
  const session = await grpcSession({ port: port.port, ca: port.root });
  context.after(() => session.destroy());
  return session;
}

async function identified(context: TestContext, port: TestPort, seconds = 3_600n): Promise<Session> {
  const session = await sessionOf(port, await joinAs(port, await port.token("reviews"), seconds));
  context.after(() => session.destroy());
  return session;
}

function ended(session: Session): Promise<void> {
  return within("the end of the session", new Promise<void>((resolve) => session.once("close", () => resolve())));
}

test("lives are what is asked for within bounds, and never longer than the authority's own", async (context) => {
  const port = await testPort(context);
  const session = await anonymous(context, port);
  const { csr } = await newRequest();
  const lifeOf = async (seconds: bigint): Promise<number> => {
    const { chain, answer } = await askCertificate(session, csr, { token: await port.token("a"), seconds });
    assert.equal(answer.status, 0, answer.message);
    return new X509Certificate(chain[0] ?? "").validToDate.getTime() / 1000 - Math.floor(port.clock.now() / 1000);
  };
  assert.equal(await lifeOf(600n), 600);
  assert.equal(await lifeOf(0n), 3_600, "no wish");
  assert.equal(await lifeOf(-5n), 3_600);
  assert.equal(await lifeOf(1n), 60, "at least a minute");
  assert.equal(await lifeOf(1_000_000n), 86_400, "at most a day");
  assert.equal(await lifeOf(2n ** 63n - 1n), 86_400);
  port.state.change({ issuer: { notAfter: Math.floor(port.clock.now() / 1000) * 1000 + 120_000 } });
  assert(Math.abs((await lifeOf(600n)) - 120) <= 1, "what is left of the authority");
  port.state.change({ issuer: { notAfter: port.clock.now() + 30_000 } });
  const { answer } = await askCertificate(session, csr, { token: await port.token("a") });
  assert.deepEqual([answer.status, answer.message], [14, "not now"]);
  assert.equal(port.refused.at(-1)?.code, "IDENTITY_UNAVAILABLE");
});

test("what was signed is noted before it is handed out, and what cannot be noted is not", async (context) => {
  const port = await testPort(context);
  const session = await anonymous(context, port);
  const { csr } = await newRequest();
  const { chain } = await askCertificate(session, csr, { token: await port.token("a") });
  assert.equal(port.state.records[0]?.serial, new X509Certificate(chain[0] ?? "").serialNumber);
  port.state.recorded = fail("IDENTITY_UNAVAILABLE", "disk full");
  const refused = await askCertificate(session, csr, { token: await port.token("a") });
  assert.deepEqual([refused.answer.status, refused.chain], [14, []]);
});

test("a session ends with its certificate, and its holder may come back by a token", async (context) => {
  const port = await testPort(context);
  const holder = await joinAs(port, await port.token("reviews"), 60n);
  const session = await sessionOf(port, holder);
  const watch = watchTrust(session);
  await until("the first state", () => watch.states[0]);
  const over = ended(session);
  await until("the end of the session here", () => {
    // By steps: in between, PING is answered.
    port.clock.advance(1_000);
    return port.dropped.length > 0;
  });
  assert.equal(port.dropped[0]?.code, "IDENTITY_EXPIRED");
  await over;
  const late = await sessionOf(port, holder);
  context.after(() => late.destroy());
  const { csr } = await newRequest();
  assert.equal((await askCertificate(late, csr)).answer.status, 16);
  assert.equal(port.refused.at(-1)?.code, "IDENTITY_EXPIRED");
  assert.equal((await askCertificate(late, csr, { token: await port.token("reviews") })).answer.status, 0);
});

test("each change of trust is told at once, and whom it no longer trusts is cut off", async (context) => {
  const port = await testPort(context);
  const session = await identified(context, port);
  const watch = watchTrust(session);
  await until("the first state", () => watch.states.length === 1);
  const other = await testAuthority("other.test");
  const bundles = new Map(port.state.trust().bundles);
  bundles.set(other.trustDomain, must(bundleFromPem(other.trustDomain, other.bundlePem)));
  port.state.change({ trust: { bundles } });
  const next = await until("the second state", () => watch.states[1]);
  assert.deepEqual(Object.keys(next.bundles).toSorted(), ["cluster.local", "other.test"]);
  assert.deepEqual([watch.states[0]?.version, next.version], [1n, 2n]);
  const stranger = await testAuthority("cluster.local");
  const over = ended(session);
  // Its own certificate would not be trusted either: the change of the roots alone is what is tried here.
  port.state.change({ trust: { bundles: new Map([[DOMAIN, must(bundleFromPem(DOMAIN, stranger.bundlePem))]]) } });
  await over;
  await until("nobody watches", () => port.watchers.size === 0);
});

test("a revoked certificate ends its session at once and renews nothing, and its holder may come back by a token", async (context) => {
  const port = await testPort(context);
  const holder = await joinAs(port, await port.token("reviews"));
  const [session, other] = [await sessionOf(port, holder), await identified(context, port)];
  const over = ended(session);
  const { serialNumber } = new X509Certificate(holder.certPem);
  const crl = await crlOf(port, serialNumber);
  const lists = must(revocationListsFromDers([crl], "test"));
  const { revocations } = takeRevocations(new Map(), lists, []);
  port.state.change({ trust: { revocations, crls: [crl] } });
  await over;
  await until("the end of the session here", () => port.dropped.at(-1)?.code === "IDENTITY_REVOKED");
  const watch = watchTrust(other);
  const state = await until("the list", () => watch.states[0]);
  assert.deepEqual(Buffer.from(state.crls[0] ?? []), crl);
  const late = await sessionOf(port, holder);
  context.after(() => late.destroy());
  const { csr } = await newRequest();
  const refused = await askCertificate(late, csr);
  assert.deepEqual([refused.answer.status, refused.answer.message], [16, "not authenticated"]);
  assert.equal(port.refused.at(-1)?.code, "IDENTITY_REVOKED");
  assert.equal((await askCertificate(late, csr, { token: await port.token("reviews") })).answer.status, 0);
});

/** A list of the issuer's with one serial number on it. */
async function crlOf(port: TestPort, serial: string): Promise<Buffer> {
  const x509 = await import("@peculiar/x509");
  const { certificatePem, keyPem } = port.state.issuer().signer;
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const key = createPrivateKey(keyPem);
  const keys = {
    privateKey: key.toCryptoKey(algorithm, true, ["sign"]),
    publicKey: createPublicKey(key).toCryptoKey(algorithm, true, ["verify"]),
  };
  return mintCrl({ certificate: new x509.X509Certificate(certificatePem), keys, above: [] }, { serials: [serial] });
}

test("a watch that is given up is forgotten", async (context) => {
  const port = await testPort(context);
  const session = await identified(context, port);
  const watches = Array.from({ length: 10 }, () => watchTrust(session));
  await until("all watch", () => port.watchers.size === 10);
  for (const watch of watches) watch.cancel();
  await until("nobody watches", () => port.watchers.size === 0);
  assert.deepEqual(port.defects, []);
});

test("an identity that asks too often waits; so does an address that is refused too often", async (context) => {
  const port = await testPort(context, {
    limits: { callBurst: 3, callsPerSecond: 1, refusalBurst: 2, refusalsPerSecond: 1 },
  });
  const { csr } = await newRequest();
  const own = await identified(context, port);
  const ask = async (session: Session, token?: string): Promise<number> =>
    (await askCertificate(session, csr, token === undefined ? {} : { token })).answer.status;
  assert.deepEqual([await ask(own), await ask(own), await ask(own)], [0, 0, 8], "one is gone for the token");
  port.clock.advance(1_000);
  assert.equal(await ask(own), 0);
  const session = await anonymous(context, port);
  const good = await port.token("ratings");
  assert.deepEqual([await ask(session, "x.y.z"), await ask(session, "x.y.z"), await ask(session, good)], [16, 16, 8]);
  port.clock.advance(1_000);
  assert.equal(await ask(own), 0, "a certificate that counts is not held up");
  assert.equal(await ask(session, good), 0);
});

test("callers without an identity leave room for those who have one, and one caller for others", async (context) => {
  const port = await testPort(context, { limits: { maxSessions: 4, maxStrangers: 2, maxSessionsPerCaller: 3 } });
  const holder = await joinAs(port, await port.token("reviews"));
  await until("the session to be over", () => port.listener.sessions === 0);
  const [first] = [await anonymous(context, port), await anonymous(context, port)];
  await assert.rejects(anonymous(context, port));
  assert.match(port.dropped.at(-1)?.detail ?? "", /2 sessions of callers without an identity/);
  for (let count = 0; count < 2; count += 1) context.after(destroyer(await sessionOf(port, holder)));
  await assert.rejects(sessionOf(port, holder));
  assert.match(port.dropped.at(-1)?.detail ?? "", /^4 sessions$/);
  first.destroy();
  await until("room", () => port.listener.sessions === 3);
  context.after(destroyer(await sessionOf(port, holder)));
  await until("four", () => port.listener.sessions === 4);
});

function destroyer(session: Session): () => void {
  return () => session.destroy();
}

test("a call whose message does not come is reset, and so is a session that only sits there", async (context) => {
  const port = await testPort(context);
  const session = await anonymous(context, port);
  const stream = beginCall(session, CREATE);
  stream.write(Buffer.of(0, 0, 0));
  const outcome = answerOf(stream);
  await until("the call", () => port.listener.streams === 1);
  port.clock.advance(10_000);
  assert.equal((await within("the reset", outcome)).status, -1);
  assert.equal(stream.rstCode, 8);
  await until("the call to be over", () => port.listener.streams === 0);
  const over = ended(session);
  await until("the end", () => {
    port.clock.advance(5_000);
    return session.closed || session.destroyed;
  });
  await over;
  assert.deepEqual(port.defects, []);
});

test("a verifier of service accounts that takes too long keeps nobody waiting", async (context) => {
  const never = { verify: () => new Promise<never>(() => undefined), close: () => undefined };
  const port = await testPort(context, { serviceAccounts: never });
  const session = await anonymous(context, port);
  const { csr } = await newRequest();
  const outcome = askCertificate(session, csr, { token: "a.b.c" });
  await until("the call", () => port.listener.streams === 1);
  port.clock.advance(15_000);
  assert.equal((await within("the reset", outcome)).answer.status, -1);
});

test("the authority's own certificate is renewed at half of its life, and when another intermediate signs", async (context) => {
  // OpenSSL at the caller's end has a clock of its own, by which no certificate may be of the future.
  const port = await testPort(context, { startMs: Date.now() - 13 * HOUR_MS });
  const serialSeen = async (): Promise<string> => {
    const session = await grpcSession({ port: port.port, ca: port.root });
    const { socket } = session as unknown as { socket: { getPeerX509Certificate(): X509Certificate } };
    const serial = socket.getPeerX509Certificate().serialNumber;
    session.destroy();
    return serial;
  };
  const first = await serialSeen();
  port.clock.advance(11 * HOUR_MS);
  assert.equal(await serialSeen(), first);
  port.clock.advance(HOUR_MS);
  const second = await until("another certificate", async () => {
    const serial = await serialSeen();
    return serial === first ? undefined : serial;
  });
  port.state.change({ issuer: {} });
  await until("another certificate", async () => (await serialSeen()) !== second);
});

test("what holds no certificate of ours is told nothing by which to know tokens apart", async (context) => {
  const port = await testPort(context);
  const session = await anonymous(context, port);
  const { csr } = await newRequest();
  const used = await port.token("a");
  await askCertificate(session, csr, { token: used });
  const [, id = ""] = used.split(".");
  const wrong = [used, `culvert-join.${id}.${"a".repeat(43)}`, "culvert-join.x", "a.b.c", "", "a b"];
  for (const token of wrong) {
    const { answer } = await askCertificate(session, csr, { token });
    assert.deepEqual([answer.status, answer.message, answer.messages.length], [16, "not authenticated", 0], token);
  }
  for (const failure of port.refused) assert(isFailure(failure));
  const [, , secret = ""] = used.split(".");
  assert.equal(
    port.lines.some((line) => line.includes(secret)),
    false,
  );
});
