// Root. `node test/bench/modules.ts`: writes the list of modules that uproxy loads, which test/e2e/modules.test.ts holds it to.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { moduleCensus, moduleListFile, moduleListText } from "../support/module-census.ts";

const folder = mkdtempSync(join(tmpdir(), "culvert-modules-"));
try {
  writeFileSync(moduleListFile, moduleListText(await moduleCensus(folder)));
} finally {
  rmSync(folder, { recursive: true });
}
