import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { mint, mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import type { Minted } from "@culvert/test/support/ca.ts";
import { crlPem, mintCrl } from "@culvert/test/support/crl.ts";
import { bundleDocument, serveBundle } from "@culvert/test/support/bundle-endpoint.ts";
import type { TestEndpoint } from "@culvert/test/support/bundle-endpoint.ts";
import { identityOf, must, staticSource, writeWhole } from "@culvert/test/support/identity.ts";
import type { TestSource } from "@culvert/test/support/identity.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../../failure/failure.ts";
import { FakeClock } from "../../net/fake-clock.ts";
import { systemClock } from "../../net/clock.ts";
import type { Clock } from "../../net/clock.ts";
import type { SpiffeId } from "../spiffe-id.ts";
import { verifyPeer } from "../verify.ts";
import { layTrust } from "./layered-source.ts";
import type { IdentityEvent, ReloadableSource } from "../source.ts";
import type { BundleEndpoint, BundlePlace, TrustConfig } from "./trust-config.ts";

const ours = await testAuthority("ours.test");
const theirs = await testAuthority("theirs.test");
const theirsAnew = await testAuthority("theirs.test");
const own = await mintSvid(ours, svidName(ours, "default", "own"));
const friend = await mintSvid(ours, svidName(ours, "default", "friend"));
const stranger = await mintSvid(theirs, svidName(theirs, "default", "stranger"));
const strangerAnew = await mintSvid(theirsAnew, svidName(theirs, "default", "stranger"));
const server = await mintSvid(theirs, svidName(theirs, "spire", "server"));

const root = await mkdtemp(join(tmpdir(), "culvert-trust-"));
const opened = new Set<ReloadableSource>();
const endpoints = new Set<TestEndpoint>();
after(async () => {
  for (const source of opened) source.close();
  for (const serving of endpoints) await serving.close();
  await rm(root, { recursive: true, force: true });
});
let files = 0;

async function fileWith(content: string): Promise<string> {
  files += 1;
  const path = join(root, `${files}.pem`);
  await writeWhole(path, content, 0o644);
  return path;
}

interface Opened {
  readonly base: TestSource;
  readonly source: ReloadableSource;
  readonly events: IdentityEvent[];
}

async function open(config: Partial<TrustConfig>, clock: Clock = systemClock): Promise<Opened> {
  const events: IdentityEvent[] = [];
  const base = staticSource(identityOf(own, [ours]));
  const whole = { federation: new Map<never, BundlePlace>(), aliases: [], crls: [], ...config };
  const source = must(await layTrust(base, { config: whole, clock, onEvent: (event) => events.push(event) }));
  opened.add(source);
  return { base, source, events };
}

async function endpoint(minted: Minted, answer: TestEndpoint["answer"]): Promise<TestEndpoint> {
  const serving = await serveBundle(minted, answer);
  endpoints.add(serving);
  return serving;
}

function codeOf({ source }: Opened, peer: Minted): string {
  const { bundles, revocations } = source.get();
  const [leaf, ...intermediates] = peer.chain;
  assert(leaf !== undefined);
  const verdict = verifyPeer({ leaf, intermediates, bundles, revocations, now: Date.now(), purpose: "client" });
  return isFailure(verdict) ? verdict.code : "good";
}

function doubts({ events }: Opened): string {
  return events.flatMap((event) => ("failure" in event ? [`${event.kind}: ${event.failure.detail}`] : [])).join("\n");
}

const federated = (place: BundlePlace): Partial<TrustConfig> => ({
  federation: new Map([[theirs.trustDomain, place]]),
});

test("the bundle of another trust domain comes from a file, and changes with it; nobody is told of what is the same", async () => {
  const path = await fileWith(theirs.bundlePem);
  const opening = await open(federated(path));
  let changes = 0;
  opening.source.onChange(() => (changes += 1));
  assert.equal(codeOf(opening, stranger), "good");
  assert.equal(codeOf(opening, strangerAnew), "IDENTITY_UNTRUSTED");
  await writeWhole(path, `${theirsAnew.bundlePem}\n`, 0o644);
  await until("the new root", () => codeOf(opening, strangerAnew) === "good");
  assert.equal(codeOf(opening, stranger), "IDENTITY_UNTRUSTED");
  await writeWhole(path, `# the same\n${theirsAnew.bundlePem}`, 0o644);
  await opening.source.reload();
  assert.equal(changes, 1);
  await writeWhole(path, "garbage", 0o644);
  await until("word of it", () => /kept: .*\.pem: bundle of theirs.test: holds no certificate/.test(doubts(opening)));
  assert.equal(codeOf(opening, strangerAnew), "good", "the last good bundle stays");
});

test("the identity below changes under what is laid over it", async () => {
  const opening = await open(federated(await fileWith(theirs.bundlePem)));
  const renewed = identityOf(await mintSvid(ours, svidName(ours, "default", "own")), [ours]);
  const heard: string[] = [];
  opening.source.onChange(({ svid }) => heard.push(svid.chainPem));
  opening.base.replace(renewed);
  assert.deepEqual(heard, [renewed.svid.chainPem]);
  assert.equal(codeOf(opening, stranger), "good");
});

test("files that are missing or unfit at the start are failures that name them", async () => {
  const base = staticSource(identityOf(own, [ours]));
  for (const [config, reason] of [
    [{ crls: [join(root, "absent.crl")] }, /absent\.crl: cannot be read \(ENOENT\)/],
    [{ crls: [await fileWith("nothing")] }, /holds no revocation list/],
    [federated(join(root, "absent.pem")), /absent\.pem: cannot be read/],
    [federated(await fileWith("nothing")), /bundle of theirs.test: holds no certificate/],
    [
      { federation: new Map([[ours.trustDomain, await fileWith(ours.bundlePem)]]) },
      /ours.test is the own trust domain/,
    ],
  ] as const) {
    const whole = { federation: new Map<never, BundlePlace>(), aliases: [], crls: [], ...config };
    const failure = await layTrust(base, { config: whole, clock: systemClock, onEvent: () => {} });
    assert(isFailure(failure));
    assert.match(failure.detail, reason);
  }
});

test("who is put on a revocation list is refused soon after; a broken file changes nothing", async () => {
  const path = await fileWith(crlPem(await mintCrl(ours.intermediate, { number: 1 }), await mintCrl(ours.root)));
  const opening = await open({ crls: [path] });
  assert.equal(codeOf(opening, friend), "good");
  await writeWhole(path, crlPem(await mintCrl(ours.intermediate, { number: 2, revoked: [friend] })), 0o644);
  await until("the revocation", () => codeOf(opening, friend) === "IDENTITY_REVOKED");
  assert(opening.events.some(({ kind }) => kind === "trust-changed"));
  await writeWhole(path, "-----BEGIN X509 CRL-----", 0o644);
  await until("word of the broken file", () => /kept: .* cut short/.test(doubts(opening)));
  await writeWhole(path, crlPem(await mintCrl(ours.intermediate, { number: 1 })), 0o644);
  await until("word of the old list", () => /older than the one in use/.test(doubts(opening)));
  assert.equal(codeOf(opening, friend), "IDENTITY_REVOKED");
});

test("a list that is stale, signed by nobody, or names our own certificate is told, once", async () => {
  const clock = new FakeClock(Date.now());
  const soon = new Date(Date.now() + 90_000);
  const stale = await mintCrl(ours.intermediate, { nextUpdate: soon, revoked: [own] });
  const opening = await open(
    { crls: [await fileWith(crlPem(stale, await mintCrl(ours.root, { keys: theirs.root.keys })))] },
    clock,
  );
  assert.match(doubts(opening), /doubtful: .*bears the name of an issuer that has not signed it/);
  assert.match(doubts(opening), new RegExp(`serial number ${own.leaf.serialNumber} is revoked`));
  assert.doesNotMatch(doubts(opening), /a newer one was due/);
  clock.advance(60_000);
  clock.advance(60_000);
  clock.advance(60_000);
  assert.equal(doubts(opening).match(/a newer one was due at .* it stays in force/g)?.length, 1);
});

test("an alias without a bundle is told; the own trust domain is no alias of itself", async () => {
  const opening = await open({ aliases: [theirs.trustDomain, ours.trustDomain] });
  assert.match(doubts(opening), /theirs.test is an alias and has no bundle/);
  assert.deepEqual([...opening.source.get().aliases], ["theirs.test"]);
});

const spiffeEndpoint = (port: number, bundle: string, id = svidName(theirs, "spire", "server")): BundleEndpoint => ({
  host: "127.0.0.1",
  port,
  path: "/bundle",
  profile: { kind: "https_spiffe", id: id as SpiffeId, bundle },
});

const LOOKS_A_STEP = 20;

test("https_spiffe: a bundle rotates over its own endpoint, which proves itself by the bundle before", async () => {
  const clock = new FakeClock(Date.now());
  const serving = await endpoint(server, bundleDocument([theirs], { spiffe_sequence: 1, spiffe_refresh_hint: 60 }));
  const opening = await open(federated(spiffeEndpoint(serving.port, await fileWith(theirs.bundlePem))), clock);
  assert.equal(codeOf(opening, stranger), "good", "by the file, before any answer");
  await until("the first answer", () => serving.asked === 1);
  serving.answer = bundleDocument([theirs, theirsAnew], { spiffe_sequence: 2, spiffe_refresh_hint: 60 });
  await inRounds(clock, "both roots", () => codeOf(opening, strangerAnew) === "good");
  assert.equal(codeOf(opening, stranger), "good");
  serving.show(await mintSvid(theirsAnew, svidName(theirs, "spire", "server")));
  serving.answer = bundleDocument([theirsAnew], { spiffe_sequence: 3, spiffe_refresh_hint: 60 });
  await inRounds(clock, "the old root to be gone", () => codeOf(opening, stranger) === "IDENTITY_UNTRUSTED");
  serving.answer = bundleDocument([theirs], { spiffe_sequence: 2, spiffe_refresh_hint: 60 });
  await inRounds(clock, "word of the old document", () =>
    /kept: .*sequence number 2 after 3; the newer one stays/.test(doubts(opening)),
  );
  assert.equal(codeOf(opening, strangerAnew), "good");
  serving.answer = bundleDocument([], { spiffe_sequence: 4 });
  await inRounds(clock, "no root to be left", () => codeOf(opening, strangerAnew) === "IDENTITY_UNTRUSTED");
});

/** Waits for what the next answers bring, and moves the clock to the next questions; slowly, so that answers can come in time. */
async function inRounds(clock: FakeClock, what: string, condition: () => boolean): Promise<void> {
  let looks = 0;
  await until(what, () => {
    if (condition()) return true;
    looks += 1;
    if (looks % LOOKS_A_STEP === 0) clock.advance(5_000);
    return false;
  });
}

for (const [what, minted, id, reason] of [
  ["another identity", stranger, undefined, /the peer is spiffe:\/\/theirs.test\/ns\/default\/sa\/stranger, expected/],
  ["another authority's certificate", strangerAnew, svidName(theirs, "default", "stranger"), /UNABLE_TO|SELF_SIGNED/],
  ["a certificate of our own trust domain", friend, svidName(ours, "default", "friend"), /UNABLE_TO|SELF_SIGNED/],
] as const) {
  test(`https_spiffe: an endpoint with ${what} is not believed`, async () => {
    const serving = await endpoint(minted, bundleDocument([theirsAnew]));
    const opening = await open(federated(spiffeEndpoint(serving.port, await fileWith(theirs.bundlePem), id)));
    await until("word of it", () => opening.events.some(({ kind }) => kind === "kept"));
    assert.match(doubts(opening), reason);
    assert.equal(codeOf(opening, strangerAnew), "IDENTITY_UNTRUSTED");
  });
}

const web = await mint(ours.root, { dns: ["localhost"], extendedKeyUsage: ["1.3.6.1.5.5.7.3.1"] });
const webEndpoint = (port: number, roots: string | undefined, host = "localhost"): BundleEndpoint => ({
  host,
  port,
  path: "/bundle?x=1",
  profile: { kind: "https_web", roots },
});

test("https_web: a bundle comes from the server that the name means, by configured roots", async () => {
  const serving = await endpoint(web, bundleDocument([theirs]));
  const opening = await open(federated(webEndpoint(serving.port, await fileWith(ours.bundlePem))));
  await until("the bundle", () => codeOf(opening, stranger) === "good");
});

for (const [what, place, answer, reason] of [
  [
    "another name",
    async (port: number) => webEndpoint(port, await fileWith(ours.bundlePem), "127.0.0.1"),
    undefined,
    /ALTNAME/,
  ],
  [
    "a root that nobody knows",
    (port: number) => webEndpoint(port, undefined),
    undefined,
    /PEER_TLS_FAILURE|UNABLE_TO|SELF_SIGNED/,
  ],
  [
    "a redirect",
    undefined,
    { status: 302, headers: { location: "https://localhost/" }, body: "" },
    /answers 302, expected 200/,
  ],
  ["an endless document", undefined, { status: 200, body: " ".repeat(1024 * 1024 + 1) }, /more than 1048576 bytes/],
  ["a page", undefined, "<html>", /not JSON/],
] as const) {
  test(`https_web: not believed: ${what}`, async () => {
    const serving = await endpoint(web, answer ?? bundleDocument([theirs]));
    const makePlace = place ?? (async (port: number) => webEndpoint(port, await fileWith(ours.bundlePem)));
    const opening = await open(federated(await makePlace(serving.port)));
    await until("word of it", () => opening.events.some(({ kind }) => kind === "kept"));
    assert.match(doubts(opening), reason);
    assert.equal(codeOf(opening, stranger), "IDENTITY_UNTRUSTED");
  });
}

test("an endpoint that does not answer is asked again, less and less often", async () => {
  const clock = new FakeClock(Date.now());
  const serving = await endpoint(web, { status: 503, body: "" });
  const opening = await open(federated(webEndpoint(serving.port, await fileWith(ours.bundlePem))), clock);
  await until("the first failure", () => opening.events.length === 1);
  clock.advance(1_000);
  await until("the second failure", () => opening.events.length === 2);
  clock.advance(999);
  assert.equal(serving.asked, 2, "a second has passed, and two are due at the soonest");
  serving.answer = bundleDocument([theirs]);
  await inRounds(clock, "the bundle", () => codeOf(opening, stranger) === "good");
});

test("an endpoint that takes the question and says nothing is given up, and asked again", async () => {
  const clock = new FakeClock(Date.now());
  const serving = await endpoint(web, "silence");
  const opening = await open(federated(webEndpoint(serving.port, await fileWith(ours.bundlePem))), clock);
  await until("the question", () => serving.asked === 1);
  clock.advance(10_000);
  await until("word of it", () => /kept: .*no answer in 10000 ms/.test(doubts(opening)));
  serving.answer = bundleDocument([theirs]);
  await inRounds(clock, "the bundle", () => codeOf(opening, stranger) === "good");
});

test("a source that is closed leaves no question behind", async () => {
  const serving = await endpoint(web, "silence");
  const opening = await open(federated(webEndpoint(serving.port, await fileWith(ours.bundlePem))));
  await until("the question", () => serving.asked === 1);
  opening.source.close();
  await until("the connection to be gone", async () => (await serving.connections()) === 0);
  assert.deepEqual(opening.events, []);
});
