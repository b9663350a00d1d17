// Root. `node test/docs/generate.ts` writes the generated pages under `docs`.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { generatedPages, ROOT } from "./pages.ts";

for (const [path, text] of await generatedPages()) await writeFile(join(ROOT, path), text);
