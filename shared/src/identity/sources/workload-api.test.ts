// The source against a Workload API that plays every good and bad part.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import { mintCrl } from "@culvert/test/support/crl.ts";
import { must } from "@culvert/test/support/identity.ts";
import { until } from "@culvert/test/support/until.ts";
import { derOf, keyDerOf, TestWorkloadApi, x509Response, type SvidEntry } from "@culvert/test/support/workload-api.ts";
import { FakeClock } from "../../net/fake-clock.ts";
import type { IdentityEvent, ReloadableSource, SourceState } from "../source.ts";
import { openWorkloadApi } from "./workload-api.ts";

const ours = await testAuthority("ours.test");
const others = await testAuthority("others.test");
const name = svidName(ours, "default", "reviews");
const first: SvidEntry = { minted: await mintSvid(ours, name), authority: ours };
const second: SvidEntry = { minted: await mintSvid(ours, name), authority: ours };
const third: SvidEntry = { minted: await mintSvid(ours, name), authority: ours };
const internal: SvidEntry = {
  minted: await mintSvid(ours, svidName(ours, "default", "internal")),
  authority: ours,
  hint: "internal",
};
const PERMISSION_DENIED = 7;
const MAX_BACKOFF_MS = 10_000;

interface Lab {
  readonly api: TestWorkloadApi;
  readonly clock: FakeClock;
  readonly events: IdentityEvent[];
  readonly socket: string;
  /** Opens the source; it is closed at the end. */
  readonly open: (options?: { hint?: string; socket?: string }) => Promise<ReloadableSource>;
  readonly told: (kind: IdentityEvent["kind"]) => string[];
  /** Moves the clock past every wait until the condition holds. */
  readonly moving: (what: string, condition: () => boolean) => Promise<unknown>;
}

function lab(t: TestContext): Lab {
  const folder = mkdtempSync(join(tmpdir(), "culvert-workload-"));
  const socket = join(folder, "socket");
  const api = new TestWorkloadApi(socket);
  const clock = new FakeClock(Date.now());
  const events: IdentityEvent[] = [];
  const sources: ReloadableSource[] = [];
  t.after(() => {
    for (const source of sources) source.close();
    api.stop();
    rmSync(folder, { recursive: true });
    assert.equal(clock.pending, 0);
  });
  const open: Lab["open"] = async ({ hint, ...rest } = {}) => {
    const source = await openWorkloadApi({
      socket,
      hint,
      clock,
      onEvent: (event) => events.push(event),
      ...rest,
    });
    sources.push(source);
    return source;
  };
  const told: Lab["told"] = (kind) =>
    events.flatMap((event) => (event.kind === kind && "failure" in event ? [event.failure.detail] : []));
  const moving: Lab["moving"] = (what, condition) =>
    until(what, () => {
      if (condition()) return true;
      clock.advance(MAX_BACKOFF_MS / 4);
      return false;
    });
  return { api, clock, events, socket, open, told, moving };
}

test("the first SVID, its key, its bundle; then each answer replaces the one before", async (t) => {
  const { api, open, events } = lab(t);
  await api.start();
  api.say(x509Response([first, internal], { "spiffe://others.test": derOf(others.bundlePem) }));
  const source = await open();
  const identity = source.get();
  assert.equal(identity.svid.id, name);
  assert.equal(identity.svid.chainPem, must(identity.svid).chainPem);
  assert.deepEqual(keyDerOf(identity.svid.keyPem), keyDerOf(first.minted.keyPem));
  assert.deepEqual([...identity.bundles.keys()], ["ours.test", "others.test"]);
  assert.deepEqual(api.calls, { all: 1, withHeader: 1 });
  const heard: string[] = [];
  source.onChange(({ svid }) => heard.push(svid.chainPem));
  api.say(x509Response([first, internal], { "spiffe://others.test": derOf(others.bundlePem) }));
  api.say(x509Response([second]));
  await until("the second", () => heard.length > 0);
  assert.deepEqual(heard, [source.get().svid.chainPem]);
  assert.notEqual(source.get().version, identity.version);
  assert.deepEqual([...source.get().bundles.keys()], ["ours.test"]);
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["changed"],
  );
});

test("the SVID with the hint is ours, wherever it stands; without one we wait and say which there are", async (t) => {
  const { api, open, told, moving } = lab(t);
  await api.start();
  api.say(x509Response([first, { ...second, hint: "external" }]));
  const opening = open({ hint: "internal" });
  await until("word of it", () => told("awaited").length > 0);
  assert.match(told("awaited")[0] ?? "", /no SVID has the hint "internal"; hints given: none, "external"/);
  api.say(x509Response([first, internal]));
  await moving("the retry", () => api.calls.all > 1);
  assert.equal((await opening).get().svid.id, svidName(ours, "default", "internal"));
});

test("an agent that comes later, behind a link, and one that does not know us yet are waited for", async (t) => {
  const { api, open, told, moving, socket } = lab(t);
  const link = `${socket}-link`;
  symlinkSync(socket, link);
  const opening = open({ socket: link });
  await until("word of it", () => told("awaited").length > 0);
  assert.match(told("awaited")[0] ?? "", /ENOENT/);
  await api.start();
  api.refuse(PERMISSION_DENIED);
  await moving("the refusal", () => told("awaited").length > 1);
  assert.match(told("awaited")[1] ?? "", /no identity for this process.*as told/);
  await moving("three more refusals", () => api.calls.all > 4);
  assert.equal(told("awaited").length, 2);
  api.say(x509Response([first]));
  await moving("the grant", () => api.streams > 0);
  assert.equal((await opening).get().svid.id, name);
});

test("the agent's restart, a stream's error and a denial leave the identity in use; the next answer is taken", async (t) => {
  const { api, open, told, moving, events } = lab(t);
  await api.start();
  api.say(x509Response([first]));
  const source = await open();
  const { version } = source.get();
  api.endStreams();
  await moving("another stream", () => api.calls.all > 1 && api.streams > 0);
  assert.deepEqual(events, []);
  api.stop();
  await moving("word of it", () => told("kept").length > 0);
  assert.match(told("kept")[0] ?? "", /ENOENT|connection/);
  assert.equal(source.get().version, version);
  await api.start();
  await moving("a stream after the restart", () => api.streams > 0);
  api.refuse(PERMISSION_DENIED);
  await moving("word of the denial", () => told("kept").some((text) => text.includes("PERMISSION_DENIED")));
  assert.equal(source.get().version, version);
  api.say(x509Response([second]));
  await moving("the change", () => source.get().version !== version);
});

const minute = 60_000;
const BAD: readonly (readonly [string, Buffer, RegExp])[] = [
  ["no message at all", Buffer.from([0x0b]), /no X509SVIDResponse/],
  ["an answer without SVIDs", x509Response([]), /no SVID/],
  ["another's key", x509Response([{ ...second, key: keyDerOf(first.minted.keyPem) }]), /not the certificate's/],
  ["a key that is none", x509Response([{ ...second, key: Buffer.from("key") }]), /private key cannot be read/],
  ["another ID than the certificate's", x509Response([{ ...second, id: `${name}2` }]), /the SVID of "spiffe:/],
  ["a cut chain", x509Response([{ ...second, chain: derOf(second.minted.chainPem).subarray(0, 200) }]), /certificate/],
  ["a chain without the intermediate", x509Response([{ ...second, chain: second.minted.leaf.raw }]), /./],
  ["no bundle", x509Response([{ ...second, bundle: Buffer.alloc(0) }]), /bundle of ours.test/],
  ["another's bundle", x509Response([{ ...second, bundle: derOf(others.bundlePem) }]), /./],
  ["a certificate that has ended", x509Response([{ ...second, minted: await mintSvid(ours, name, { notAfter: new Date(Date.now() - minute) }) }]), /is valid from/],
  ["a certificate that is not valid yet", x509Response([{ ...second, minted: await mintSvid(ours, name, { notBefore: new Date(Date.now() + 10 * minute) }) }]), /./],
  ["a certificate of two names", x509Response([{ ...second, minted: await mintSvid(ours, name, { uris: [name, `${name}2`] }) }]), /2 URI names/],
  ["a CA's certificate", x509Response([{ ...second, minted: ours.intermediate as SvidEntry["minted"] }]), /./],
  ["65 SVIDs", x509Response(Array.from({ length: 65 }, () => ({ ...second, hint: "x" }))), /more than 64/],
]; // oxfmt-ignore

for (const [what, answer, text] of BAD) {
  test(`never in use: ${what}`, async (t) => {
    const { api, open, told, moving } = lab(t);
    await api.start();
    api.say(x509Response([first]));
    const source = await open();
    const { version } = source.get();
    api.say(answer);
    await until("word of it", () => told("kept").length > 0);
    assert.match(told("kept")[0] ?? "", text);
    assert.equal(source.get().version, version);
    const { all } = api.calls;
    await moving("another try, as bad", () => api.calls.all > all + 1);
    assert.equal(told("kept").length, 1);
    api.say(x509Response([third]));
    await moving("the good answer after it", () => source.get().version !== version);
  });
}

test("a federated bundle that cannot be used keeps the one before and spoils nothing else", async (t) => {
  const { api, open, told } = lab(t);
  await api.start();
  api.say(x509Response([first], { "others.test": derOf(others.bundlePem) }));
  const source = await open();
  const before = source.get().bundles.get(others.trustDomain);
  assert(before !== undefined);
  const unfit = { "spiffe://others.test": Buffer.from("x"), "spiffe://new.test": Buffer.alloc(0), "UPPER.test": before.roots[0]?.raw ?? Buffer.alloc(0), "ours.test": derOf(others.bundlePem) }; // oxfmt-ignore
  api.say(x509Response([second], unfit));
  api.say(x509Response([third], unfit));
  await until("the third", () => source.get().svid.chainPem.includes(third.minted.leaf.toString()));
  assert.deepEqual([...source.get().bundles.keys()], ["ours.test", "others.test"]);
  assert.equal(source.get().bundles.get(others.trustDomain), before);
  assert.equal(told("doubtful").length, 4);
  assert.match(told("doubtful").join(), /federated bundle of others.test.*own trust domain/s);
});

test("a removed root loses its trust at once, even if our own certificate hangs on it", async (t) => {
  const { api, open, told } = lab(t);
  await api.start();
  api.say(x509Response([first]));
  const source = await open();
  const renewed = await testAuthority("ours.test");
  api.say(x509Response([{ ...first, bundle: derOf(renewed.bundlePem) }]));
  await until(
    "the new root",
    () => source.get().bundles.get(ours.trustDomain)?.pem === renewed.bundlePem.replaceAll("\n\n", "\n"),
  );
  assert.equal(told("doubtful").length, 1);
});

test("revocation lists are in force as they come; one that cannot be read leaves the others", async (t) => {
  const { api, open, told } = lab(t);
  const crl = await mintCrl(ours.intermediate, { revoked: [second.minted] });
  await api.start();
  api.say(x509Response([first], {}, [crl]));
  const source = await open();
  assert.equal(source.get().revocations.size, 1);
  api.say(x509Response([third], {}, [Buffer.from("crl")]));
  await until("the third", () => told("doubtful").length > 0);
  assert.equal(source.get().revocations.size, 1);
  api.say(x509Response([third], {}, []));
  await until("no list", () => source.get().revocations.size === 0);
});

test("an expiry is told once, and the agent is asked anew", async (t) => {
  const { api, open, told, clock, moving } = lab(t);
  await api.start();
  const minted = await mintSvid(ours, name, { notAfter: new Date(Date.now() + minute) });
  api.say(x509Response([{ minted, authority: ours }]));
  const source = await open();
  clock.advance(2 * minute);
  assert.equal(told("expired").length, 1);
  await moving("the question", () => api.calls.all > 1);
  clock.advance(minute);
  assert.equal(told("expired").length, 1);
  api.say(x509Response([second]));
  await moving("the renewal", () => source.get().svid.notAfter > clock.now());
});

test("told to read again, it asks at once", async (t) => {
  const { api, open } = lab(t);
  await api.start();
  api.say(x509Response([first]));
  const source = await open();
  await source.reload();
  await until("the question", () => api.calls.all === 2);
});

test("the agent alone says who we are: another SVID in the first place is another identity", async (t) => {
  const { api, open, events } = lab(t);
  await api.start();
  api.say(x509Response([first, internal]));
  const source = await open();
  api.say(x509Response([internal, first]));
  await until("the other", () => source.get().svid.id !== name);
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["changed"],
  );
});

test("its state says whether it waits, watches or fails, with what, and when it asks again", async (t) => {
  const { api, open, moving, socket } = lab(t);
  await api.start();
  api.say(x509Response([first]));
  const source = await open();
  const now = (): SourceState => source.state;
  assert.deepEqual(now(), {
    source: `workloadApi: ${socket}`,
    state: "watching",
    nextInMs: undefined,
    failures: 0,
    lastFailure: undefined,
  });
  api.refuse(PERMISSION_DENIED);
  await moving("the denial", () => now().failures > 1);
  const { state, nextInMs, lastFailure } = now();
  assert.equal(state, "failing");
  assert.equal(lastFailure?.code, "IDENTITY_NOT_GIVEN");
  assert.ok(nextInMs !== undefined && nextInMs > 0 && nextInMs <= MAX_BACKOFF_MS);
});
