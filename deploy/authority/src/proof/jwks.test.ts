import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { JWTPayload } from "jose";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { must } from "@culvert/test/support/must.ts";
import { openJwksVerifier } from "./jwks.ts";

const ISSUER = "https://kubernetes.default.svc";
const AUDIENCE = "istio-ca";
const folder = await mkdtemp(join(tmpdir(), "culvert-jwks-"));
after(() => rm(folder, { recursive: true }));

const clock = new FakeClock();
const seconds = (): number => Math.floor(clock.now() / 1000);
const [first, second] = [await generateKeyPair("RS256"), await generateKeyPair("ES256")];
const jwks = join(folder, "jwks.json");

async function writeKeys(...keys: readonly (readonly [kid: string, pair: typeof first])[]): Promise<void> {
  const set = await Promise.all(
    keys.map(async ([kid, { publicKey }]) => Object.assign(await exportJWK(publicKey), { kid })),
  );
  await writeFile(jwks, JSON.stringify({ keys: set }));
}
await writeKeys(["one", first]);
const verifier = must(await openJwksVerifier({ jwks, issuer: ISSUER, audience: AUDIENCE, clock }));

const GOOD = {
  iss: ISSUER,
  aud: [AUDIENCE],
  sub: "system:serviceaccount:default:reviews",
  "kubernetes.io": { namespace: "default", serviceaccount: { name: "reviews", uid: "1" }, pod: { name: "reviews-1" } },
};

function tokenOf(claims: JWTPayload = {}, pair = first, header = { alg: "RS256", kid: "one" }): Promise<string> {
  const now = seconds();
  const whole = { iat: now, nbf: now, exp: now + 600, ...GOOD, ...claims };
  return new SignJWT(whole).setProtectedHeader(header).sign(pair.privateKey);
}

async function refusal(token: string): Promise<string> {
  const account = await verifier.verify(token);
  assert(isFailure(account), "it is accepted");
  assert.equal(account.code, "TOKEN_REFUSED");
  assert.equal(account.detail.includes(token), false);
  return account.detail;
}

test("a token of the cluster for us names its account and its pod", async () => {
  assert.deepEqual(must(await verifier.verify(await tokenOf())), {
    namespace: "default",
    name: "reviews",
    by: "pod reviews-1",
  });
});

const wrong: readonly [what: string, claims: JWTPayload, says: RegExp][] = [
  ["for somebody else", { aud: ["https://kubernetes.default.svc"] }, /claim aud/],
  ["without audience", { aud: undefined } as unknown as JWTPayload, /claim aud/],
  ["of another issuer", { iss: "https://elsewhere" }, /claim iss/],
  ["that has expired", { exp: seconds() - 60 }, /exp/],
  ["that never expires", { exp: undefined } as unknown as JWTPayload, /claim exp/],
  ["of the future", { nbf: seconds() + 600 }, /claim nbf/],
  ["without subject", { sub: undefined } as unknown as JWTPayload, /claim sub/],
  ["of a user", { sub: "admin" }, /no service account: "admin"/],
  ["with a path for a name", { sub: "system:serviceaccount:default:../x" }, /no service account/],
  ["of an account in no namespace", { sub: "system:serviceaccount::x" }, /no service account/],
  [
    "whose claims contradict each other",
    { "kubernetes.io": { namespace: "kube-system", serviceaccount: { name: "admin" } } },
    /contradict/,
  ],
];
for (const [what, claims, says] of wrong) {
  test(`a token ${what} is refused`, async () => {
    assert.match(await refusal(await tokenOf(claims)), says);
  });
}

test("a token by another key, by a shared secret, by none, or that is none, is refused", async () => {
  const stranger = await generateKeyPair("RS256");
  assert.match(await refusal(await tokenOf({}, stranger)), /signature verification failed/);
  assert.match(await refusal(await tokenOf({}, second, { alg: "ES256", kid: "two" })), /no applicable key/);
  const secret = Buffer.from(JSON.stringify(await exportJWK(first.publicKey)));
  const shared = await new SignJWT({ ...GOOD, exp: seconds() + 600 })
    .setProtectedHeader({ alg: "HS256", kid: "one" })
    .sign(secret);
  assert.match(await refusal(shared), /"alg"/);
  const [, payload = ""] = (await tokenOf()).split(".");
  const none = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${payload}.`;
  await refusal(none);
  for (const garbage of ["a.b.c", "....", "eyJhbGciOiJSUzI1NiJ9..", "x".repeat(10_000)]) await refusal(garbage);
});

test("keys that replace others are in use within a second; what is no key set is not", async () => {
  const token = await tokenOf({}, second, { alg: "ES256", kid: "two" });
  await writeKeys(["two", second]);
  clock.advance(1_000);
  assert.equal(must(await verifier.verify(token)).name, "reviews");
  await refusal(await tokenOf());
  await writeFile(jwks, "{");
  clock.advance(1_000);
  assert.equal(must(await verifier.verify(token)).name, "reviews");
  await rm(jwks);
  clock.advance(1_000);
  assert.equal(must(await verifier.verify(token)).name, "reviews");
  const opened = await openJwksVerifier({ jwks, issuer: ISSUER, audience: AUDIENCE, clock });
  assert(isFailure(opened));
  assert.equal(opened.code, "IDENTITY_UNAVAILABLE");
});
