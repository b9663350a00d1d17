// Root. `node write-table.ts`: writes `differences.json` anew. Reasons stay; a new oddity needs one written by hand.
import { findDifferences } from "./run.ts";
import { writeTable } from "./table.ts";

writeTable(await findDifferences());
