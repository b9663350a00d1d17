// The authority as its callers meet it: a token leads to a certificate, the certificate to the next one, and nothing else to any.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import { makeIdentity, selfCheck } from "@culvert/shared/identity/identity.ts";
import { parseTrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { svidFromPem } from "@culvert/shared/identity/svid.ts";
import {
  askCertificate,
  createToken,
  initAuthority,
  joinAs,
  newRequest,
  sessionOf,
  startAuthority,
  watchTrust,
} from "../support/authority.ts";
import { grpcSession } from "../support/grpc.ts";
import { ask } from "../support/http.ts";
import { reserveSubnet } from "../support/loopback.ts";
import { must } from "../support/must.ts";
import { runProgram } from "../support/programs.ts";
import { until, within } from "../support/until.ts";

const folder = mkdtempSync(join(tmpdir(), "culvert-authority-"));
const ca = await initAuthority(folder);
const authority = await startAuthority(folder, ca);
after(async () => {
  await authority.program.stop();
  rmSync(folder, { recursive: true });
});

const REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews";
const UNAUTHENTICATED = 16;
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;

/** The audit's lines so far. */
function audit(): readonly Readonly<Record<string, unknown>>[] {
  return authority.program.output
    .filter((line) => line.includes('"target":"audit"'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("a join token leads to a certificate of its account, for the key of the request, that the data plane takes", async () => {
  const token = await createToken(ca, "reviews");
  const session = await grpcSession({ port: authority.port, ca: authority.root });
  const { csr, keyPem } = await newRequest("spiffe://cluster.local/ns/kube-system/sa/admin");
  const { answer, chain } = await askCertificate(session, csr, { token });
  assert.deepEqual([answer.status, answer.message], [0, ""]);
  assert.equal(chain.length, 3, "leaf, intermediate, root");
  assert.equal(chain[2], authority.root);
  const svid = must(svidFromPem(chain.slice(0, -1).join(""), keyPem));
  assert.equal(svid.id, REVIEWS);
  assert.equal(svid.notAfter - svid.notBefore, 3_660_000, "an hour, and a minute before");
  const domain = must(parseTrustDomain("cluster.local"));
  const identity = must(makeIdentity(svid, new Map([[domain, must(bundleFromPem(domain, chain[2] ?? ""))]])));
  assert.equal(selfCheck(identity, Date.now()), undefined);
  assert.match(svid.chain[0]?.serialNumber ?? "", /^[0-9A-F]{25,32}$/);
  const line = await until("the line of the audit", () =>
    audit().find(({ serial }) => serial === svid.chain[0]?.serialNumber),
  );
  assert.deepEqual(
    [line["outcome"], line["proof"], line["identity"], line["not_after"]],
    ["issued", "join-token", REVIEWS, new Date(svid.notAfter).toISOString()],
  );
  assert.match(String(line["proof_by"]), /^join token [0-9a-f]{16}$/);

  const again = await askCertificate(session, csr, { token });
  assert.equal(again.answer.status, UNAUTHENTICATED);
  assert.equal(again.answer.message, "not authenticated");
  assert.deepEqual(again.chain, []);
  const refused = await until("the refusal", () => audit().find(({ outcome }) => outcome === "refused"));
  assert.equal(refused["code"], "TOKEN_REFUSED");
  assert.match(String(refused["error"]), /used already$/);
  session.close();
});

test("a certificate leads to the next one of the same identity, and to the trust, which it is told of", async () => {
  const holder = await joinAs(authority, await createToken(ca, "reviews"));
  const session = await sessionOf(authority, holder);
  const { csr, keyPem } = await newRequest();
  const { answer, chain } = await askCertificate(session, csr);
  assert.equal(answer.status, 0, answer.message);
  assert.equal(must(svidFromPem(chain.slice(0, -1).join(""), keyPem)).id, REVIEWS);
  const watch = watchTrust(session);
  const state = await until("the first state", () => watch.states[0]);
  assert.deepEqual(Object.keys(state.bundles), ["cluster.local"]);
  const [der] = Object.values(state.bundles);
  assert.equal(new X509Certificate(Buffer.from(der ?? [])).toString(), new X509Certificate(authority.root).toString());
  watch.cancel();
  await watch.ended;
  session.close();
});

test("who proves nothing gets nothing, and is told no more than that", async () => {
  const session = await grpcSession({ port: authority.port, ca: authority.root });
  const { csr } = await newRequest();
  const none = await askCertificate(session, csr);
  assert.deepEqual([none.answer.status, none.answer.message], [UNAUTHENTICATED, "not authenticated"]);
  const wrong = await askCertificate(session, csr, { token: `culvert-join.0123456789abcdef.${"a".repeat(43)}` });
  assert.equal(wrong.answer.status, UNAUTHENTICATED);
  const jwt = await askCertificate(session, csr, { token: "eyJh.eyJh.c2ln" });
  assert.equal(jwt.answer.status, UNAUTHENTICATED);
  const watch = watchTrust(session);
  assert.equal((await watch.ended).status, UNAUTHENTICATED);
  assert.deepEqual(watch.states, []);
  session.close();
});

test("the request has no say in the identity, and a token is not spent on one that cannot be granted", async () => {
  const token = await createToken(ca, "reviews");
  const session = await grpcSession({ port: authority.port, ca: authority.root });
  const { csr } = await newRequest();
  const other = "spiffe://cluster.local/ns/default/sa/ratings";
  const refused = await askCertificate(session, csr, { token, metadata: { ImpersonatedIdentity: other } });
  assert.equal(refused.answer.status, PERMISSION_DENIED);
  const garbage = await askCertificate(
    session,
    "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    {
      token,
    },
  );
  assert.equal(garbage.answer.status, INVALID_ARGUMENT);
  assert.match(garbage.answer.message, /not a PKCS #10 request/);
  const granted = await askCertificate(session, csr, { token, metadata: { ImpersonatedIdentity: REVIEWS } });
  assert.equal(granted.answer.status, 0);
  session.close();
});

test("a one-time token that races with itself leads to one certificate", async () => {
  const token = await createToken(ca, "reviews");
  const { csr } = await newRequest();
  const sessions = await Promise.all(
    Array.from({ length: 8 }, () => grpcSession({ port: authority.port, ca: authority.root })),
  );
  const outcomes = await Promise.all(
    sessions.flatMap((session) => [askCertificate(session, csr, { token }), askCertificate(session, csr, { token })]),
  );
  const statuses = outcomes.map(({ answer }) => answer.status).toSorted((a, b) => a - b);
  assert.deepEqual(statuses, [0, ...Array.from({ length: 15 }, () => UNAUTHENTICATED)]);
  for (const session of sessions) session.close();
});

test("a reusable token may be used so often, and after it is revoked not at all", async () => {
  const counted = await createToken(ca, "reviews", "--reusable", "--uses", "2");
  const endless = await createToken(ca, "reviews", "--reusable");
  const session = await grpcSession({ port: authority.port, ca: authority.root });
  const { csr } = await newRequest();
  const statusOf = async (token: string): Promise<number> =>
    (await askCertificate(session, csr, { token })).answer.status;
  assert.deepEqual(
    [await statusOf(counted), await statusOf(counted), await statusOf(counted)],
    [0, 0, UNAUTHENTICATED],
  );
  assert.deepEqual([await statusOf(endless), await statusOf(endless), await statusOf(endless)], [0, 0, 0]);
  const [, id = ""] = endless.split(".");
  const listed = await runProgram("authority", ["token", "list", ca]);
  assert.match(listed.stdout, new RegExp(`^${id}  default/reviews  reusable  until 20`, "m"));
  assert.equal((await runProgram("authority", ["token", "revoke", ca, "--id", id])).code, 0);
  assert.equal(await statusOf(endless), UNAUTHENTICATED);
  session.close();
});

test("SIGTERM lets callers know and ends in order", async (context) => {
  const own = mkdtempSync(join(tmpdir(), "culvert-authority-"));
  context.after(() => rmSync(own, { recursive: true }));
  const second = await startAuthority(own, await initAuthority(own));
  const session = await sessionOf(second, await joinAs(second, await createToken(second.folder, "reviews")));
  const watch = watchTrust(session);
  await until("the first state", () => watch.states[0]);
  const goaway = new Promise((resolve) => session.once("goaway", resolve));
  second.program.signal("SIGTERM");
  await within("GOAWAY", goaway);
  assert.equal((await within("the end of the watch", watch.ended)).status, 14);
  assert.deepEqual(await within("the end", second.program.exited), { code: 0, signal: null });
});

test("an operator sees that it is ready, what it has issued, and what it drains", async (context) => {
  const own = mkdtempSync(join(tmpdir(), "culvert-authority-"));
  const subnet = await reserveSubnet();
  context.after(async () => {
    await subnet.release();
    rmSync(own, { recursive: true });
  });
  const host = subnet.address(1);
  const second = await startAuthority(own, await initAuthority(own), {
    admin: hostPort(host, 15000),
    readiness: hostPort(host, 15021),
    metrics: hostPort(host, 15020),
  });
  context.after(() => second.program.stop());
  const get = async (port: number, path: string): Promise<string> => (await ask(`http://${host}:${port}${path}`)).body;
  assert.equal((await get(15021, "/healthz/ready")).trim(), "ready");
  const holder = await joinAs(second, await createToken(second.folder, "reviews"));
  const session = await sessionOf(second, holder);
  const watch = watchTrust(session);
  await until("the first state", () => watch.states[0]);
  const metrics = await get(15020, "/metrics");
  for (const line of [
    'culvert_authority_certificates_total{proof="join-token"} 1',
    'culvert_authority_certificates_total{proof="certificate"} 0',
    "culvert_authority_watchers 1",
    'culvert_failures_total{code="TOKEN_REFUSED"} 0',
    "culvert_ready 1",
  ])
    assert(metrics.includes(`\n${line}\n`), line);
  assert.match(metrics, /\nculvert_authority_issuer_expiration_timestamp_seconds \d{10}/);
  assert.match(metrics, /\nculvert_build_info\{component="authority",/);
  second.program.signal("SIGHUP");
  await second.program.line(/files are in use as they are/);
  watch.cancel();
  await watch.ended;
  session.close();
});

test("a drain under load cuts no call short", async (context) => {
  const own = mkdtempSync(join(tmpdir(), "culvert-authority-"));
  context.after(() => rmSync(own, { recursive: true }));
  const second = await startAuthority(own, await initAuthority(own));
  const token = await createToken(second.folder, "reviews", "--reusable");
  const { csr } = await newRequest();
  const sessions = await Promise.all(
    Array.from({ length: 8 }, () => grpcSession({ port: second.port, ca: second.root })),
  );
  let answered = 0;
  const worker = async (session: (typeof sessions)[number]): Promise<void> => {
    while (!session.closed && !session.destroyed && answered < 5_000) {
      const { answer, chain } = await askCertificate(session, csr, { token }).catch((error: Error) => {
        // Node refuses a call on a session that has got GOAWAY: it was never sent.
        assert.match(error.message, /GOAWAY|closed|destroyed|not be created/i);
        return { answer: { status: -2 }, chain: [] };
      });
      if (answer.status === -2) return;
      // Refused before it was looked at: RST_STREAM, which a client may always try elsewhere.
      if (answer.status === -1) return;
      assert.equal(answer.status, 0);
      assert.equal(chain.length, 3);
      answered += 1;
    }
  };
  const workers = sessions.flatMap((session) => Array.from({ length: 4 }, () => worker(session)));
  await until("some answers", () => answered > 50);
  second.program.signal("SIGTERM");
  await within("the end of all calls", Promise.all(workers));
  assert.deepEqual(await within("the end", second.program.exited), { code: 0, signal: null });
  const issued = second.program.output.filter((line) => line.includes('"outcome":"issued"')).length;
  assert.equal(issued, answered, "each certificate that was signed has arrived");
});
