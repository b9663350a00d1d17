import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { SessionKey } from "./session-key.ts";

const SECRET = Buffer.alloc(32, 7);
const key = new SessionKey(SECRET, "default/waypoint");
const session = { tag: key.tag("default/a-1 10.0.0.1:80"), createdAt: 1_800_000_000_123, usedAt: 1_800_000_500_456 };
const SCOPE = "default/route first";

test("a value comes back as it went out, also in another process with the same secret", () => {
  const value = key.seal(session, SCOPE);
  assert.match(value, /^[A-Za-z0-9_-]{55}$/);
  assert.deepEqual(key.open(value, SCOPE), session);
  const other = new SessionKey(Buffer.from(SECRET), "default/waypoint");
  assert.deepEqual(other.open(value, SCOPE), session);
  assert.equal(other.tag("default/a-1 10.0.0.1:80"), session.tag);
});

test("a value is worth nothing with another secret, for another Gateway, or for another rule", () => {
  const value = key.seal(session, SCOPE);
  assert.equal(new SessionKey(Buffer.alloc(32, 8), "default/waypoint").open(value, SCOPE), undefined);
  assert.equal(new SessionKey(SECRET, "default/other").open(value, SCOPE), undefined);
  assert.equal(key.open(value, "default/route second"), undefined);
});

test("no other text than the sealed one is a session", () => {
  const value = key.seal(session, SCOPE);
  for (const last of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
    const other = value.slice(0, -1) + last;
    assert.equal(key.open(other, SCOPE) !== undefined, other === value, other);
  }
  for (let at = 0; at < value.length; at++) {
    const changed = value.slice(0, at) + (value[at] === "A" ? "B" : "A") + value.slice(at + 1);
    assert.equal(key.open(changed, SCOPE), undefined, `character ${at}`);
  }
  fc.assert(fc.property(fc.string(), (text) => key.open(text, SCOPE) === undefined));
  for (const text of ["", value.slice(1), `${value}A`, `${value}=`, ` ${value}`, value.replace(/.$/, "+")]) {
    assert.equal(key.open(text, SCOPE), undefined, text);
  }
});

test("the value tells nothing of the endpoint's address", () => {
  const bytes = Buffer.from(key.seal(session, SCOPE), "base64url").toString("latin1");
  assert.doesNotMatch(bytes, /10\.0\.0\.1|default/);
  assert.notEqual(key.tag("default/a-1 10.0.0.1:80"), key.tag("default/a-1 10.0.0.2:80"));
});
