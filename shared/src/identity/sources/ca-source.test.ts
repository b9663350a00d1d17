// The source over a signer that plays every part, on a clock that is moved.
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { testAuthority } from "@culvert/test/support/ca.ts";
import { must } from "@culvert/test/support/must.ts";
import { readRequest } from "@culvert/test/support/signing.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { ReloadableSource } from "../source.ts";
import type { CaSourceOptions } from "./ca-source.ts";
import {
  bundleOf,
  down,
  HOUR_MS,
  impostor,
  issue,
  lab,
  moving,
  ours,
  ratings,
  refused,
  reviews,
  tokenOf,
  trust,
  type Part,
} from "./ca-source-fixtures.ts";
import { accountIn } from "./open-authority.ts";

test("a token leads to the first certificate, which leads to the next one, with a new key", async (context) => {
  const one = lab(context);
  const source = must(await one.open());
  const first = source.get();
  assert.equal(first.svid.id, reviews);
  assert.deepEqual([one.requests[0]?.token, one.requests[0]?.current], ["one-time", undefined]);
  assert.equal(one.requests[0]?.lifeMs, HOUR_MS);
  assert.deepEqual((await readRequest(one.requests[0]?.csrPem ?? "")).uris, [], "who we are is the authority's to say");
  rmSync(join(one.folder, "token"));
  const changes: string[] = [];
  source.onChange((identity) => changes.push(identity.svid.id));
  one.clock.advance(HOUR_MS / 2 - 1_000);
  assert.equal(one.requests.length, 1);
  await moving(one.clock, "the renewal", () => source.get() !== first);
  assert.deepEqual([one.requests[1]?.token, one.requests[1]?.current], [undefined, first]);
  assert.deepEqual((await readRequest(one.requests[1]?.csrPem ?? "")).uris, [reviews]);
  assert.notEqual(source.get().svid.keyPem, first.svid.keyPem);
  assert.deepEqual(changes, [reviews]);
  assert.deepEqual(
    one.events.map(({ kind }) => kind),
    ["changed"],
  );
  assert.equal(one.trustRestarts, 1);
  assert.deepEqual(source.state.state, "waiting");
});

test("no lie of an authority is taken into use, and the certificate stays until its last second", async (context) => {
  const one = lab(context);
  const source = must(await one.open());
  const first = source.get();
  const honest = one.part;
  const { csrPem: foreignKey } = one.requests[0] ?? { csrPem: "" };
  const at = (ms: number): Date => new Date(one.clock.now() + ms);
  const lies: readonly [string, Part, string][] = [
    ["another's identity", issue(one.clock, ratings), "IDENTITY_MISMATCH"],
    ["another trust domain's", issue(one.clock, "spiffe://other.test/ns/default/sa/reviews"), "IDENTITY_MISMATCH"],
    ["another key", (request) => honest({ ...request, csrPem: foreignKey }), "IDENTITY_MALFORMED"],
    [
      "one that has ended",
      (request) => issue(one.clock, reviews, { notBefore: at(-HOUR_MS), notAfter: at(-1_000) })(request),
      "IDENTITY_EXPIRED",
    ],
    [
      "one that is not valid yet",
      (request) => issue(one.clock, reviews, { notBefore: at(120_000) })(request),
      "IDENTITY_EXPIRED",
    ],
    ["a CA certificate", issue(one.clock, reviews, { ca: {}, keyUsage: ["keyCertSign"] }), "IDENTITY_MALFORMED"],
    ["no certificate", async () => ({ chain: [] }), "IDENTITY_MALFORMED"],
    [
      "garbage",
      async () => ({ chain: ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] }),
      "IDENTITY_MALFORMED",
    ],
    ["no root", cut(honest, (chain) => chain.slice(0, 2)), "IDENTITY_MALFORMED"],
    ["no intermediate", cut(honest, ([leaf = "", , root = ""]) => [leaf, root]), "IDENTITY_UNTRUSTED"],
    [
      "another's root at the end",
      cut(honest, (chain) => [...chain.slice(0, 2), impostor.bundlePem]),
      "IDENTITY_UNTRUSTED",
    ],
    [
      "a long row",
      cut(honest, (chain) => [...chain, ...Array.from({ length: 20 }, () => ours.bundlePem)]),
      "IDENTITY_MALFORMED",
    ],
    ["a megabyte", async () => ({ chain: ["a".repeat(1_100_000)] }), "IDENTITY_MALFORMED"],
  ];
  for (const [what, part, code] of lies) {
    one.part = part;
    await source.reload();
    assert.equal(one.codes("kept").at(-1), code, what);
    assert.equal(source.get(), first, what);
  }
  assert.equal(one.codes("kept").length, lies.length);
  assert.equal(source.state.failures, lies.length);
  assert.equal(source.state.lastFailure?.code, "IDENTITY_MALFORMED");

  // Down for the rest of its life, and longer: it is told once.
  one.part = async () => down;
  one.clock.advance(HOUR_MS - 1_000);
  assert.deepEqual(one.codes("expired"), []);
  one.clock.advance(5_000);
  assert.deepEqual(one.codes("expired"), ["IDENTITY_EXPIRED"]);
  one.clock.advance(60_000);
  assert.deepEqual(one.codes("expired"), ["IDENTITY_EXPIRED"]);
  assert.equal(source.get(), first);

  // What has ended proves nothing: the token is asked for again.
  await until("the end of the last try", () => source.state.state === "failing");
  one.part = honest;
  await moving(one.clock, "a new one", () => source.get() !== first);
  assert.equal(one.requests.at(-1)?.token, "one-time");
});

function cut(part: Part, how: (chain: readonly string[]) => readonly string[]): Part {
  return async (request) => {
    const answer = await part(request);
    return "chain" in answer ? { chain: how(answer.chain) } : answer;
  };
}

test("a certificate that is refused as proof gives way to the token, and a refused token to the certificate", async (context) => {
  const one = lab(context);
  const source = must(await one.open());
  one.part = async () => refused;
  const proofs: string[] = [];
  for (let round = 0; round < 4; round += 1) {
    await source.reload();
    proofs.push(one.requests.at(-1)?.token ?? "certificate");
  }
  assert.deepEqual(proofs, ["certificate", "one-time", "certificate", "one-time"]);
});

test("an authority that is away at the start is waited for, and what it waits for is told", async (context) => {
  const one = lab(context);
  const honest = one.part;
  one.part = async () => down;
  const opening = one.open();
  await moving(one.clock, "a few tries", () => one.codes("awaited").length >= 4);
  // The token is being replaced: no reason to give up what has begun.
  rmSync(join(one.folder, "token"));
  await moving(one.clock, "a try without a token", () => one.codes("awaited").includes("IDENTITY_UNAVAILABLE"));
  writeFileSync(join(one.folder, "token"), "another\n");
  one.part = honest;
  let source: ReloadableSource | Failure | undefined;
  void opening.then((opened) => (source = opened));
  await moving(one.clock, "the first certificate", () => source !== undefined);
  assert.equal(must(source).get().svid.id, reviews);
  assert.equal(one.requests.at(-1)?.token, "another");
});

test("a local file that is not there, or is no token, ends the start at once and says which", async (context) => {
  const one = lab(context);
  const cases: readonly [Partial<CaSourceOptions>, RegExp][] = [
    [{ token: join(one.folder, "none") }, /none: cannot be read \(ENOENT\)/],
    [{ token: one.folder }, /not a plain file/],
    [{ token: undefined }, /neither a token nor a certificate that is kept/],
    [{ expected: (token) => accountIn(token, ours.trustDomain) }, /token: not a service account token of Kubernetes/],
  ];
  for (const [options, says] of cases) {
    const failure = await one.open(options);
    assert(isFailure(failure));
    assert.match(failure.detail, says);
  }
  writeFileSync(join(one.folder, "token"), "two words\n");
  const failure = await one.open();
  assert(isFailure(failure));
  assert.match(failure.detail, /token: holds no token/);
  assert.equal(one.requests.length, 0);
});

test("Istio's token proves each request, read anew, and says who the certificate must be for", async (context) => {
  const one = lab(context);
  writeFileSync(join(one.folder, "token"), tokenOf("reviews", 1));
  const istio = { renewsByCertificate: false, expected: (text: string) => accountIn(text, ours.trustDomain) };
  const source = must(await one.open(istio));
  assert.deepEqual((await readRequest(one.requests[0]?.csrPem ?? "")).uris, [reviews]);
  writeFileSync(join(one.folder, "token"), tokenOf("reviews", 2));
  await source.reload();
  assert.deepEqual(
    one.requests.map(({ token }) => token),
    [tokenOf("reviews", 1), tokenOf("reviews", 2)],
  );
  one.part = issue(one.clock, ratings);
  await source.reload();
  assert.deepEqual(one.codes("kept"), ["IDENTITY_MISMATCH"]);
});

test("an authority that answers the first request with another's identity is not believed", async (context) => {
  const one = lab(context);
  writeFileSync(join(one.folder, "token"), tokenOf("reviews"));
  one.part = issue(one.clock, ratings);
  const opening = one.open({ renewsByCertificate: false, expected: (text) => accountIn(text, ours.trustDomain) });
  await moving(one.clock, "a few tries", () => one.codes("awaited").length >= 2);
  assert.deepEqual(new Set(one.codes("awaited")), new Set(["IDENTITY_MISMATCH"]));
  one.part = issue(one.clock);
  let opened = false;
  void opening.then(() => (opened = true));
  await moving(one.clock, "the first certificate", () => opened);
});

test("whom to trust is heard, replaces what was, and outlives renewals", async (context) => {
  const one = lab(context);
  const store = join(one.folder, "identity.pem");
  const source = must(await one.open({ store }));
  const other = await testAuthority("other.test");
  one.tell?.(trust(bundleOf(ours), bundleOf(other)));
  assert.deepEqual([...source.get().bundles.keys()], ["ours.test", "other.test"]);
  const { version } = source.get();
  one.tell?.(trust(bundleOf(ours), bundleOf(other)));
  assert.equal(source.get().version, version, "the same again is no change");
  await source.reload();
  assert.deepEqual([...source.get().bundles.keys()], ["ours.test", "other.test"], "an answer brings no trust");
  // Without its own trust domain a message is no trust.
  one.tell?.(trust(bundleOf(other)));
  assert.deepEqual(one.codes("kept"), ["IDENTITY_UNAVAILABLE"]);
  assert.deepEqual([...source.get().bundles.keys()], ["ours.test", "other.test"]);

  // Our root is replaced under us: at once, with a word about our own certificate.
  one.tell?.(trust(bundleOf(impostor)));
  assert.equal(source.get().bundles.get(ours.trustDomain)?.pem, bundleOf(impostor).pem);
  assert.deepEqual(one.codes("doubtful"), ["IDENTITY_UNTRUSTED"]);
  await until("what is kept to have it", () => readFileSync(store, "utf8").includes(bundleOf(impostor).pem));
  // An answer under the root that was taken away is not taken, one under the new root is.
  const before = source.get();
  await source.reload();
  assert.equal(one.codes("kept").at(-1), "IDENTITY_UNTRUSTED");
  assert.equal(source.get(), before);
  one.part = issue(one.clock, reviews, {}, impostor);
  await source.reload();
  assert.notEqual(source.get(), before);
  assert.equal(source.get().bundles.get(ours.trustDomain)?.pem, bundleOf(impostor).pem);
});

test("a clock that is set forward by an hour ends the certificate, and set back it counts again", async (context) => {
  const one = lab(context);
  const source = must(await one.open());
  const first = source.get();
  one.part = async () => down;
  one.clock.jump(2 * HOUR_MS);
  one.clock.advance(1_000);
  assert.deepEqual(one.codes("expired"), ["IDENTITY_EXPIRED"]);
  one.clock.jump(-2 * HOUR_MS);
  one.clock.advance(1_000);
  assert.equal(source.get(), first);
  one.clock.jump(2 * HOUR_MS);
  one.clock.advance(1_000);
  assert.deepEqual(one.codes("expired").length, 2, "told again");
  // By our clock an honest answer has ended already, and is refused until the clock is right.
  const ended = { notBefore: new Date(one.clock.now() - 2 * HOUR_MS), notAfter: new Date(one.clock.now() - HOUR_MS) };
  one.part = issue(one.clock, reviews, ended);
  await source.reload();
  assert.equal(one.codes("kept").at(-1), "IDENTITY_EXPIRED");
  assert.equal(source.get(), first);
});

test("a slow answer is waited for, once", async (context) => {
  const one = lab(context);
  const source = must(await one.open());
  const first = source.get();
  const honest = one.part;
  const gate = Promise.withResolvers<void>();
  one.part = async (request) => {
    await gate.promise;
    return honest(request);
  };
  one.clock.advance(HOUR_MS / 2 + 1_000);
  await until("the request", () => one.requests.length === 2);
  one.clock.advance(30_000);
  void source.reload();
  assert.equal(source.state.state, "asking");
  assert.equal(one.requests.length, 2);
  gate.resolve();
  await until("the answer", () => source.get() !== first);
});

test("what was given up leaves nothing behind", async (context) => {
  const one = lab(context);
  one.part = async () => down;
  const givingUp = new AbortController();
  void one.open({ signal: givingUp.signal });
  await moving(one.clock, "a try", () => one.codes("awaited").length > 0);
  givingUp.abort();
  assert.equal(one.clock.pending, 0);
});
