// Machine. The pages under `docs` that are made from the code. `node test/docs/generate.ts` writes them.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { configurationPage } from "./configuration-page.ts";
import { failuresPage } from "./failures-page.ts";
import { logsPage } from "./logs-page.ts";
import { metricsPage } from "./metrics-page.ts";

/** The root of the repository. */
export const ROOT: string = join(import.meta.dirname, "../..");

/** Path from the root, and text as it should be now, of every generated page. */
export async function generatedPages(): Promise<ReadonlyMap<string, string>> {
  const limits = await readFile(join(ROOT, "shared/src/tunnel/limits.ts"), "utf8");
  return new Map([
    ["docs/configuration.md", configurationPage(limits)],
    ["docs/failures.md", failuresPage()],
    ["docs/logs.md", logsPage()],
    ["docs/metrics.md", metricsPage()],
  ]);
}

if (import.meta.main) {
  for (const [path, text] of await generatedPages()) await writeFile(join(ROOT, path), text);
}
