import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { mintSvid, testAuthority } from "@culvert/test/support/ca.ts";
import { must } from "@culvert/test/support/must.ts";
import { until } from "@culvert/test/support/until.ts";
import { openTokenReviewer } from "./token-review.ts";

const AUDIENCE = "istio-ca";
const TOKEN = "a.service.account-token";
const folder = await mkdtemp(join(tmpdir(), "culvert-review-"));
const authority = await testAuthority("cluster.local");
const { chainPem, keyPem } = await mintSvid(authority, "spiffe://cluster.local/api", { dns: ["localhost"] });
const [ca, own] = [join(folder, "ca.crt"), join(folder, "token")];
await writeFile(ca, authority.bundlePem);
await writeFile(own, "own-token\n");

interface Asked {
  readonly path: string | undefined;
  readonly authorization: string | undefined;
  readonly body: { readonly spec: { readonly token: string; readonly audiences: readonly string[] } };
}
const asked: Asked[] = [];
let answer: (response: ServerResponse) => void = () => undefined;
const server = createServer({ cert: chainPem, key: keyPem }, (request, response) => void receive(request, response));
server.listen(0, "localhost");
await once(server, "listening");
after(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks = (await request.toArray()) as Buffer[];
  const body = JSON.parse(Buffer.concat(chunks).toString()) as Asked["body"];
  asked.push({ path: request.url, authorization: request.headers.authorization, body });
  answer(response);
}

function reviewer(clock = new FakeClock(), host = "localhost"): ReturnType<typeof openTokenReviewer> {
  const { port } = server.address() as AddressInfo;
  return openTokenReviewer({ server: { host, port }, ca, token: own, audience: AUDIENCE, clock });
}

function says(status: unknown, code = 201): (response: ServerResponse) => void {
  return (response) => response.writeHead(code).end(JSON.stringify({ kind: "TokenReview", status }));
}

const GOOD = {
  authenticated: true,
  audiences: [AUDIENCE],
  user: {
    username: "system:serviceaccount:default:reviews",
    extra: { "authentication.kubernetes.io/pod-name": ["reviews-1"] },
  },
};

test("asks the API server, as itself, for our audience, and believes it", async () => {
  answer = says(GOOD);
  const account = must(await reviewer().verify(TOKEN));
  assert.deepEqual(account, { namespace: "default", name: "reviews", by: "pod reviews-1" });
  const [review] = asked;
  assert.equal(review?.path, "/apis/authentication.k8s.io/v1/tokenreviews");
  assert.equal(review?.authorization, "Bearer own-token");
  assert.deepEqual(review?.body.spec, { token: TOKEN, audiences: [AUDIENCE] });
});

const refused: readonly [what: string, status: unknown, says: RegExp][] = [
  ["does not know", { authenticated: false, error: "invalid bearer token" }, /does not know it: invalid bearer token$/],
  ["does not say is authenticated", { ...GOOD, authenticated: "yes" }, /does not know it$/],
  ["knows for another audience", { ...GOOD, audiences: ["https://kubernetes"] }, /not for the audience istio-ca/],
  ["knows without looking at audiences", { ...GOOD, audiences: undefined }, /not for the audience/],
  ["knows as a node", { ...GOOD, user: { username: "system:node:n1" } }, /no service account: "system:node:n1"/],
  ["says nothing of", null, /does not know it/],
];
for (const [what, status, text] of refused) {
  test(`a token that the API server ${what} is refused`, async () => {
    answer = says(status);
    const account = await reviewer().verify(TOKEN);
    assert(isFailure(account));
    assert.equal(account.code, "TOKEN_REFUSED");
    assert.match(account.detail, text);
  });
}

const broken: readonly [what: string, answer: (response: ServerResponse) => void, says: RegExp][] = [
  ["forbids it", says({}, 403), /status 403/],
  ["fails", says({}, 500), /status 500/],
  ["redirects", (response) => response.writeHead(302, { location: "https://localhost/" }).end(), /status 302/],
  ["answers no JSON", (response) => response.writeHead(200).end("<html>"), /not JSON/],
  ["answers without end", (response) => response.writeHead(200).write(Buffer.alloc(512 * 1024)), /more than 262144/],
  ["hangs up", (response) => response.destroy(), /ECONNRESET|socket hang up/],
];
for (const [what, behaviour, text] of broken) {
  test(`an API server that ${what} leaves the token unchecked`, async () => {
    answer = behaviour;
    const account = await reviewer().verify(TOKEN);
    assert(isFailure(account));
    assert.equal(account.code, "TOKEN_NOT_CHECKED");
    assert.match(account.detail, text);
    assert.equal(account.detail.includes(TOKEN), false);
  });
}

test("an API server that does not answer, has another name, or no file for us, leaves the token unchecked", async () => {
  const clock = new FakeClock();
  const before = asked.length;
  answer = () => undefined;
  const late = reviewer(clock).verify(TOKEN);
  await until("the question", () => asked.length > before);
  clock.advance(5_000);
  const unanswered = await late;
  assert(isFailure(unanswered));
  assert.match(unanswered.detail, /no answer in 5000 ms/);
  answer = says(GOOD);
  const misnamed = await reviewer(clock, "127.0.0.1").verify(TOKEN);
  assert(isFailure(misnamed));
  assert.match(misnamed.detail, /ERR_TLS_CERT_ALTNAME_INVALID|ECONNREFUSED/);
  await rm(own);
  const unknown = await reviewer().verify(TOKEN);
  assert(isFailure(unknown));
  assert.equal(unknown.code, "TOKEN_NOT_CHECKED");
  await writeFile(own, "own-token\n");
});

test("reviews beyond their bound are refused at once", async () => {
  answer = () => undefined;
  const clock = new FakeClock();
  const crowded = reviewer(clock);
  const waiting = Array.from({ length: 128 }, () => crowded.verify(TOKEN));
  const refusedNow = await crowded.verify(TOKEN);
  assert(isFailure(refusedNow));
  assert.match(refusedNow.detail, /128 reviews are under way/);
  const ended = Promise.all(waiting).then((outcomes) => outcomes.every(isFailure));
  let done = false;
  void ended.then(() => (done = true));
  // Each reads its files before its deadline begins.
  await until("the end of all of them", () => {
    clock.advance(5_000);
    return done;
  });
  assert(await ended);
  crowded.close();
});
