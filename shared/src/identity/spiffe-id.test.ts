import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../failure/failure.ts";
import {
  parseSpiffeId,
  parseTrustDomain,
  pathOf,
  trustDomainId,
  trustDomainOf,
  workloadId,
  workloadOf,
} from "./spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "./spiffe-id.ts";

const longest = `spiffe://td/${"a".repeat(2048 - "spiffe://td/".length)}`;

const good: readonly [text: string, domain: string, path: string][] = [
  ["spiffe://example.org/ns/default/sa/reviews", "example.org", "/ns/default/sa/reviews"],
  ["spiffe://example.org", "example.org", ""],
  ["spiffe://a/b", "a", "/b"],
  ["spiffe://under_score-and.dot/X.y_Z-9", "under_score-and.dot", "/X.y_Z-9"],
  ["spiffe://127.0.0.1/a", "127.0.0.1", "/a"],
  ["spiffe://td/...", "td", "/..."],
  ["spiffe://td/.a/b.", "td", "/.a/b."],
  [`spiffe://${"a".repeat(255)}/b`, "a".repeat(255), "/b"],
  [longest, "td", longest.slice("spiffe://td".length)],
];

for (const [text, domain, path] of good) {
  test(`accepts ${text.slice(0, 60)}`, () => {
    const id = parseSpiffeId(text);
    assert(!isFailure(id));
    assert.equal(id, text);
    assert.equal(trustDomainOf(id), domain);
    assert.equal(pathOf(id), path);
  });
}

const bad: readonly [text: string, reason: RegExp][] = [
  ["", /begin with/],
  ["spiffe:", /begin with/],
  ["spiffe:/td/a", /begin with/],
  ["SPIFFE://td/a", /begin with/],
  [" spiffe://td/a", /begin with/],
  ["http://td/a", /begin with/],
  ["spiffe://", /trust domain is empty/],
  ["spiffe:///a", /trust domain is empty/],
  [`spiffe://${"a".repeat(256)}/b`, /longer than 255/],
  ["spiffe://Example.org/a", /trust domain holds only/],
  ["spiffe://td:80/a", /trust domain holds only/],
  ["spiffe://user@td/a", /trust domain holds only/],
  ["spiffe://[::1]/a", /trust domain holds only/],
  ["spiffe://t%64/a", /trust domain holds only/],
  ["spiffe://td?x", /trust domain holds only/],
  ["spiffe://td#x", /trust domain holds only/],
  ["spiffe://tä/a", /trust domain holds only/],
  ["spiffe://td\0/a", /trust domain holds only/],
  ["spiffe://td/", /segment is empty/],
  ["spiffe://td/a/", /segment is empty/],
  ["spiffe://td/a//b", /segment is empty/],
  ["spiffe://td/.", /'.' or '..'/],
  ["spiffe://td/a/../b", /'.' or '..'/],
  ["spiffe://td/%2e", /segment holds only/],
  ["spiffe://td/a%20b", /segment holds only/],
  ["spiffe://td/a?b", /segment holds only/],
  ["spiffe://td/a#b", /segment holds only/],
  ["spiffe://td/a b", /segment holds only/],
  ["spiffe://td/a\n", /segment holds only/],
  ["spiffe://td/a\0", /segment holds only/],
  ["spiffe://td/a,URI:spiffe://other/b", /segment holds only/],
  ["spiffe://td/é", /segment holds only/],
  [`${longest}a`, /longer than 2048/],
];

for (const [text, reason] of bad) {
  test(`refuses ${JSON.stringify(text.slice(0, 60))}`, () => {
    const failure = parseSpiffeId(text);
    assert(isFailure(failure));
    assert.equal(failure.code, "IDENTITY_MALFORMED");
    assert.match(failure.detail, reason);
    assert(failure.detail.length < 300, "a failure does not repeat a long input whole");
  });
}

function of(path: string): unknown {
  return workloadOf(`spiffe://td${path}` as SpiffeId);
}

test("reads a workload only from exactly ns/<namespace>/sa/<service account>", () => {
  assert.deepEqual(of("/ns/default/sa/reviews"), { namespace: "default", serviceAccount: "reviews" });
  assert.deepEqual(of("/ns/sa/sa/ns"), { namespace: "sa", serviceAccount: "ns" });
  for (const path of [
    "",
    "/ns/a",
    "/ns/a/sa",
    "/ns/a/sa/b/c",
    "/NS/a/sa/b",
    "/ns/a/SA/b",
    "/x/ns/a/sa/b",
    "/sa/a/ns/b",
  ]) {
    assert.equal(of(path), undefined, path);
  }
});

test("makes the ID of a workload and of a trust domain", () => {
  const domain = parseTrustDomain("example.org") as TrustDomain;
  assert.equal(workloadId(domain, "default", "reviews"), "spiffe://example.org/ns/default/sa/reviews");
  assert.equal(trustDomainId(domain), "spiffe://example.org");
  for (const name of ["", ".", "..", "a/b", "a b", "a%2f"]) {
    assert(isFailure(workloadId(domain, name, "a")), name);
    assert(isFailure(workloadId(domain, "a", name)), name);
  }
  assert(isFailure(workloadId(domain, "a", "b".repeat(2048))));
});

test("reads a trust domain by itself, without scheme or path", () => {
  assert.equal(parseTrustDomain("cluster.local"), "cluster.local");
  for (const text of ["", "spiffe://td", "td/", "TD", "td:1", "a".repeat(256)])
    assert(isFailure(parseTrustDomain(text)), text);
});
