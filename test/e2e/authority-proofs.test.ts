// The authority as a process, with what it is configured with: tokens of Kubernetes by both ways, another authority beside it, and an
// end at any instant.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test, type TestContext } from "node:test";
import { exportJWK, generateKeyPair, SignJWT, type JWTPayload } from "jose";
import {
  askCertificate,
  createToken,
  initAuthority,
  joinAs,
  newRequest,
  sessionOf,
  startAuthority,
  type RunningAuthority,
} from "../support/authority.ts";
import { mintSvid, testAuthority } from "../support/ca.ts";
import { grpcSession } from "../support/grpc.ts";
import { runProgram } from "../support/programs.ts";
import { until } from "../support/until.ts";

const root = mkdtempSync(join(tmpdir(), "culvert-proofs-"));
const ca = await initAuthority(root);
after(() => rmSync(root, { recursive: true }));

const REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews";
const UNAUTHENTICATED = 16;
const UNAVAILABLE = 14;
const ISSUER = "https://kubernetes.default.svc.cluster.local";

function ownFolder(context: TestContext): string {
  const folder = mkdtempSync(join(root, "own-"));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function started(
  context: TestContext,
  folder: string,
  over: string,
  config: Readonly<Record<string, unknown>> = {},
): Promise<RunningAuthority> {
  const authority = await startAuthority(folder, over, config);
  context.after(() => authority.program.stop());
  return authority;
}

/** What one request by a token comes to: the gRPC status, and the identity. */
async function ask(authority: RunningAuthority, token: string): Promise<{ status: number; uri: string | undefined }> {
  const session = await grpcSession({ port: authority.port, ca: authority.root });
  const { csr } = await newRequest();
  const { answer, chain } = await askCertificate(session, csr, { token });
  session.close();
  const [leaf] = chain;
  return { status: answer.status, uri: leaf === undefined ? undefined : new X509Certificate(leaf).subjectAltName };
}

test("a service account token is checked by the cluster's keys in a file, which may change", async (context) => {
  const folder = ownFolder(context);
  const jwks = join(folder, "jwks.json");
  const [one, two] = [await generateKeyPair("RS256"), await generateKeyPair("ES256")];
  const write = async (kid: string, { publicKey }: typeof one): Promise<void> =>
    writeFileSync(jwks, JSON.stringify({ keys: [Object.assign(await exportJWK(publicKey), { kid })] }));
  await write("one", one);
  const kubernetes = { jwks: "jwks.json", issuer: ISSUER, audience: "istio-ca" };
  const authority = await started(context, folder, ca, { kubernetes });
  const tokenOf = (pair: typeof one, header: { alg: string; kid: string }, claims: JWTPayload = {}): Promise<string> =>
    new SignJWT({ iss: ISSUER, aud: ["istio-ca"], sub: "system:serviceaccount:default:reviews", ...claims })
      .setProtectedHeader(header)
      .setIssuedAt()
      .setExpirationTime("10m")
      .sign(pair.privateKey);
  const good = await tokenOf(one, { alg: "RS256", kid: "one" });
  assert.deepEqual(await ask(authority, good), { status: 0, uri: `URI:${REVIEWS}` });
  assert.deepEqual(await ask(authority, good), { status: 0, uri: `URI:${REVIEWS}` }, "as often as it is valid");
  const foreign = await tokenOf(one, { alg: "RS256", kid: "one" }, { aud: ["vault"] });
  assert.equal((await ask(authority, foreign)).status, UNAUTHENTICATED);
  const line = await authority.program.line(/"outcome":"refused"/);
  assert.match(line, /"code":"TOKEN_REFUSED","error":".*claim aud/);
  await write("two", two);
  const next = await tokenOf(two, { alg: "ES256", kid: "two" });
  await until("the new key to be in use", async () => (await ask(authority, next)).status === 0);
  assert.equal((await ask(authority, good)).status, UNAUTHENTICATED);
});

test("a service account token is checked by the API server, and by nobody while it is away", async (context) => {
  const folder = ownFolder(context);
  const cluster = await testAuthority("cluster.local");
  const { chainPem, keyPem } = await mintSvid(cluster, "spiffe://cluster.local/api", { dns: ["localhost"] });
  writeFileSync(join(folder, "ca.crt"), cluster.bundlePem);
  writeFileSync(join(folder, "token"), "own");
  const status = {
    authenticated: true,
    audiences: ["istio-ca"],
    user: { username: "system:serviceaccount:default:reviews" },
  };
  const api = createServer({ cert: chainPem, key: keyPem }, (request, response) => {
    request.resume();
    response.writeHead(201).end(JSON.stringify({ status }));
  });
  api.listen(0, "localhost");
  await once(api, "listening");
  const { port } = api.address() as AddressInfo;
  const tokenReview = { server: `https://localhost:${port}`, ca: "ca.crt", token: "token" };
  const authority = await started(context, folder, ca, { kubernetes: { tokenReview, audience: "istio-ca" } });
  assert.deepEqual(await ask(authority, "an.opaque.token"), { status: 0, uri: `URI:${REVIEWS}` });
  api.closeAllConnections();
  api.close();
  assert.equal((await ask(authority, "an.opaque.token")).status, UNAVAILABLE);
  assert.match(await authority.program.line(/"outcome":"refused"/), /"code":"TOKEN_NOT_CHECKED"/);
});

test("two authorities over one intermediate stand in for each other", async (context) => {
  const folder = ownFolder(context);
  const copy = join(folder, "copy");
  cpSync(ca, copy, { recursive: true });
  const [one, two] = [await started(context, ownFolder(context), ca), await started(context, folder, copy)];
  const holder = await joinAs(one, await createToken(ca, "reviews"));
  await one.program.stop();
  const session = await sessionOf(two, holder);
  const { csr } = await newRequest();
  const renewed = await askCertificate(session, csr);
  assert.equal(renewed.answer.status, 0, renewed.answer.message);
  assert.equal(new X509Certificate(renewed.chain[0] ?? "").subjectAltName, `URI:${REVIEWS}`);
  session.close();
});

test("a one-time token leads to at most one certificate, whenever the process is killed", async (context) => {
  const folder = ownFolder(context);
  const own = await initAuthority(folder);
  const isTaken = (id: string): boolean => readdirSync(join(own, "tokens")).some((name) => name.startsWith(`${id}.1.`));
  for (const killWhen of ["asked", "taken", "answered"] as const) {
    const token = await createToken(own, "reviews");
    const [, id = ""] = token.split(".");
    const first = await startAuthority(folder, own);
    const asked = Array.from({ length: 4 }, () => ask(first, token).catch(() => ({ status: -1, uri: undefined })));
    if (killWhen === "taken") await until("the use to be taken", () => isTaken(id));
    if (killWhen === "answered") await Promise.race(asked);
    first.program.signal("SIGKILL");
    await first.program.exited;
    const before = (await Promise.all(asked)).filter(({ status }) => status === 0).length;
    const wasTaken = isTaken(id);
    const second = await startAuthority(folder, own);
    const again = await ask(second, token);
    await second.program.stop();
    assert.equal(again.status, wasTaken ? UNAUTHENTICATED : 0, killWhen);
    assert(before + (again.status === 0 ? 1 : 0) <= 1, killWhen);
    assert(isTaken(id), killWhen);
    assert(existsSync(join(own, "root.pem")));
  }
});

test("check and serve name what is wrong with the configuration", async (context) => {
  const folder = ownFolder(context);
  const file = join(folder, "authority.yaml");
  const outcome = async (command: string, text: string): Promise<{ code: number | null; stderr: string }> => {
    writeFileSync(file, text);
    const { code, stderr } = await runProgram("authority", [command, "--config", file]);
    return { code, stderr };
  };
  const good = `folder: ${ca}\nnames: [authority]\n`;
  assert.equal((await outcome("check", good)).code, 0);
  const wrong: readonly [text: string, says: RegExp][] = [
    ["names: [authority]\n", /authority.yaml:1: folder: expected path, found nothing/],
    [`folder: ${ca}\n`, /names: expected list of DNS name or IP address, found nothing/],
    [`${good}life: 30s\n`, /:3: life: expected 1m to 2160h/],
    [`${good}life: 48h\n`, /life is longer than maxLife/],
    [`folder: ${ca}\nnames: [spiffe://x]\n`, /names\[0\]: expected DNS name or IP address/],
    [`folder: ${ca}\nnames: []\n`, /names: expected at least one name/],
    [`${good}kubernetes: {audience: a}\n`, /kubernetes: expected exactly one of jwks, tokenReview; found none/],
    [`${good}kubernetes: {jwks: x, audience: a}\n`, /jwks needs issuer/],
    [`${good}kubernetes: {jwks: x, issuer: y}\n`, /audience: expected text, found nothing/],
    [`${good}kubernetes: {tokenReview: {server: "http://x"}, audience: a}\n`, /server: expected https:\/\/host/],
    [`${good}listn: ":1"\n`, /unknown key; did you mean listen\?/],
  ];
  for (const [text, says] of wrong) {
    for (const command of ["check", "serve"]) {
      const { code, stderr } = await outcome(command, text);
      assert.deepEqual([code, says.test(stderr)], [2, true], `${command}: ${stderr}`);
    }
  }
  const missing = await outcome(
    "serve",
    `folder: ${folder}/none\nnames: [a]\nreadiness: off\nadmin: off\nmetrics: off\n`,
  );
  assert.equal(missing.code, 3);
  assert.match(missing.stderr, /root.pem: cannot be read \(ENOENT\)/);
});
