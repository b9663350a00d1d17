import assert from "node:assert/strict";
import { test } from "node:test";
import { isDnsLabel, isDnsName, isLabelKey, isLabelValue, isPortName } from "./names.ts";

test("names of Kubernetes", () => {
  const tables: [string, (text: string) => boolean, string[], string[]][] = [
    [
      "DNS label",
      isDnsLabel,
      ["a", "reviews", "v1-2", "9to5", "a".repeat(63)],
      ["", "-a", "a-", "A", "a.b", "a_b", "ä"].concat("a".repeat(64), "a\n"),
    ],
    [
      "DNS name",
      isDnsName,
      ["a", "a.b", "reviews-1.v2"],
      ["", ".", "a.", ".a", "a..b", "A.b", `${"a.".repeat(127)}a`, "a\n"],
    ],
    [
      "label key",
      isLabelKey,
      ["app", "istio.io/use-waypoint", "a_b.C"],
      ["", "/", "a/", "/a", "a/b/c", "-a", "A.io/x", "a b", "x".repeat(64)],
    ],
    ["label value", isLabelValue, ["", "v1", "a_b.C-d", "1"], ["-", "a b", "a/b", "x".repeat(64), "a\n"]],
    ["port name", isPortName, ["http", "http-web", "a1", "1a"], ["", "1", "http--x", "HTTP", "a-", "abcdefghijklmnop"]],
  ];
  for (const [name, accepts, good, bad] of tables) {
    for (const text of good) assert.equal(accepts(text), true, `${name} ${JSON.stringify(text)}`);
    for (const text of bad) assert.equal(accepts(text), false, `${name} ${JSON.stringify(text)}`);
  }
});
