import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { generatedPages, ROOT } from "./generate.ts";

test("the generated pages say what the code says (node test/docs/generate.ts writes them)", async () => {
  for (const [path, text] of await generatedPages()) {
    assert.equal(await readFile(join(ROOT, path), "utf8"), text, path);
  }
});
