import assert from "node:assert/strict";
import { test } from "node:test";
import type { SessionPersistence } from "@culvert/shared/config/http-route.ts";
import { routeMatch } from "@culvert/test/support/fixtures.ts";
import { SessionKey } from "./session-key.ts";
import { sessionProblem, SessionRules } from "./session-rules.ts";

const KEY = new SessionKey(Buffer.alloc(32, 1), "default/waypoint");
const OLD_KEY = new SessionKey(Buffer.alloc(32, 2), "default/waypoint");
const NOW = 1_800_000_000_000;
const A = "default/a 10.0.0.1:80";
const B = "default/b 10.0.0.2:80";
const COOKIE: SessionPersistence = {
  type: "cookie",
  name: "SID",
  absoluteTimeoutMs: 0,
  idleTimeoutMs: 0,
  permanent: false,
};

function rules(parts: Partial<SessionPersistence> = {}, path = "/shop"): SessionRules {
  return new SessionRules(
    { ...COOKIE, ...parts },
    "default/r a",
    routeMatch({ path: { kind: "prefix", value: path } }),
  );
}

function cookieOf(line: string): string {
  const pair = /^set-cookie: (SID=[^;]+);/.exec(line)?.[1];
  assert.ok(pair !== undefined, line);
  return pair;
}

function pathOf(value: string, kind: "exact" | "prefix" | "regex" = "prefix"): string {
  const made = new SessionRules(COOKIE, "r", routeMatch({ path: { kind, value } })).answer(undefined, A, KEY, NOW);
  return /Path=([^;]*);/.exec(made)?.[1] ?? "";
}

test("a new client gets a cookie for the rule's path and comes back by it", () => {
  const shop = rules();
  const line = shop.answer(undefined, A, KEY, NOW);
  assert.match(line, /^set-cookie: SID=[\w-]{55}; Path=\/shop; HttpOnly; SameSite=Strict\r\n$/);
  const known = shop.find([`a=1; ${cookieOf(line)}; b=2`], [KEY], NOW);
  assert.equal(known?.session.tag, KEY.tag(A));
  assert.equal(shop.answer(known, A, KEY, NOW), "", "it has what it needs");
  assert.match(shop.answer(known, B, KEY, NOW), /^set-cookie: SID=/, "its endpoint is gone");
});

test("a cookie is found in several lines, in quotes, and behind one of no worth", () => {
  const shop = rules();
  const value = cookieOf(shop.answer(undefined, A, KEY, NOW)).slice("SID=".length);
  for (const lines of [["x=1", `SID=${value}`], [`SID="${value}"`], [`SID=old; SID=${value}`], [` SID = ${value} `]]) {
    assert.notEqual(shop.find(lines, [KEY], NOW), undefined, lines.join(" | "));
  }
  for (const lines of [[], [`sid=${value}`], [`XSID=${value}`], ["SID"], ["SID="]]) {
    assert.equal(shop.find(lines, [KEY], NOW), undefined, lines.join(" | "));
  }
});

test("a session ends after its absolute time, however it is used", () => {
  const shop = rules({ absoluteTimeoutMs: 10_000, permanent: true });
  const line = shop.answer(undefined, A, KEY, NOW);
  assert.match(line, /; Max-Age=10; /);
  const lines = [cookieOf(line)];
  assert.notEqual(shop.find(lines, [KEY], NOW + 9_999), undefined);
  assert.equal(shop.find(lines, [KEY], NOW + 10_000), undefined);
});

test("a session ends when it is idle, and each use prolongs it up to its absolute time", () => {
  const shop = rules({ absoluteTimeoutMs: 25_000, idleTimeoutMs: 10_000 });
  let lines = [cookieOf(shop.answer(undefined, A, KEY, NOW))];
  assert.equal(shop.find(lines, [KEY], NOW + 10_000), undefined);
  for (const later of [9_000, 18_000]) {
    const known = shop.find(lines, [KEY], NOW + later);
    assert.equal(known?.session.createdAt, NOW);
    lines = [cookieOf(shop.answer(known, A, KEY, NOW + later))];
  }
  assert.notEqual(shop.find(lines, [KEY], NOW + 24_999), undefined);
  assert.equal(shop.find(lines, [KEY], NOW + 25_000), undefined);
});

test("a session of a key that is to go is sealed anew with the new one", () => {
  const shop = rules();
  const known = shop.find([cookieOf(shop.answer(undefined, A, OLD_KEY, NOW))], [KEY, OLD_KEY], NOW);
  assert.equal(known?.key, OLD_KEY);
  const renewed = shop.find([cookieOf(shop.answer(known, A, KEY, NOW))], [KEY, OLD_KEY], NOW);
  assert.equal(renewed?.key, KEY);
  assert.equal(renewed.session.tag, KEY.tag(A));
});

test("a header in place of the cookie", () => {
  const byHeader = rules({ type: "header", name: "X-Session" });
  assert.equal(byHeader.field, "x-session");
  const line = byHeader.answer(undefined, A, KEY, NOW);
  const value = /^x-session: ([\w-]+)\r\n$/.exec(line)?.[1] ?? "";
  assert.equal(byHeader.find([value], [KEY], NOW)?.session.tag, KEY.tag(A));
});

test("the path of the cookie is where the rule holds", () => {
  assert.equal(pathOf("/"), "/");
  assert.equal(pathOf("/a/"), "/a");
  assert.equal(pathOf("/a", "exact"), "/a");
  assert.equal(pathOf("/a/.*", "regex"), "/");
  assert.equal(pathOf("/a;b"), "/");
});

test("what cannot be kept is named", () => {
  assert.equal(sessionProblem(COOKIE), undefined);
  assert.match(sessionProblem({ ...COOKIE, name: "a;b" }) ?? "", /name of a cookie/);
  assert.match(sessionProblem({ ...COOKIE, permanent: true }) ?? "", /absoluteTimeout/);
  assert.match(sessionProblem({ ...COOKIE, type: "header", name: "Host" }) ?? "", /host/);
});
