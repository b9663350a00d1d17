import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { PROTO_FILES, stampOf } from "../../proto/generate.ts";

for (const { proto, generated } of PROTO_FILES) {
  test(`${generated.split("/").at(-1)} is made of its .proto as it is now (pnpm proto makes it anew)`, () => {
    assert.equal(readFileSync(generated, "utf8").split("\n")[1], stampOf(proto));
  });
}
