import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import cases from "@culvert/test/conformance/cases/host.json" with { type: "json" };
import { canonicalHost } from "./host.ts";

test("every spelling of a host becomes the one that is decided on", () => {
  for (const { raw, text, hostname } of cases.canonical) {
    const host = canonicalHost(raw);
    assert.ok(!isFailure(host), raw);
    assert.equal(host.text, text);
    assert.equal(host.hostname, hostname);
    const again = canonicalHost(host.text);
    assert.ok(!isFailure(again));
    assert.equal(again.text, text);
  }
});

test("what two readers may take for two hosts is refused", () => {
  for (const raw of [...cases.refused, "a".repeat(64), `${"a.".repeat(127)}a`, "a\u0000b", "a\r\nb"]) {
    const host = canonicalHost(raw);
    assert.ok(isFailure(host) && host.code === "REQUEST_MALFORMED", raw);
  }
});
