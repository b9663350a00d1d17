// What a uproxy loads in the configuration that users begin with, module by module: what only an optional feature needs must not be
// among it, and one import too many of Node's own modules can cost megabytes.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { mintSvid, svidName, testAuthority } from "../support/ca.ts";
import { moduleCensus, moduleListFile, moduleListText } from "../support/module-census.ts";
import { TestWorkloadApi, x509Response } from "../support/workload-api.ts";

test("uproxy loads exactly the modules of the list", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-modules-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const listed = new Set(readFileSync(moduleListFile, "utf8").split("\n"));
  const loaded = new Set(moduleListText(await moduleCensus(folder)).split("\n"));
  const more = [...loaded].filter((name) => !listed.has(name));
  const less = [...listed].filter((name) => !loaded.has(name));
  assert.ok(
    more.length === 0 && less.length === 0,
    `uproxy loads other modules than test/e2e/modules.txt says.
More: ${more.join(", ") || "none"}
No longer: ${less.join(", ") || "none"}
What only an optional feature needs is to be imported where that is configured (await import). If all that is loaded
is needed by everybody, and \`pnpm budgets\` is still met, write the list anew: node test/bench/modules.ts`,
  );
});

test("of the sources of an identity the configured one alone is loaded", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-modules-"));
  const socket = join(folder, "agent.sock");
  const agent = new TestWorkloadApi(socket);
  context.after(() => {
    agent.stop();
    rmSync(folder, { recursive: true });
  });
  const authority = await testAuthority("cluster.local");
  const minted = await mintSvid(authority, svidName(authority, "default", "app"));
  await agent.start();
  agent.say(x509Response([{ minted, authority }]));
  const { own } = await moduleCensus(folder, { workloadApi: `unix://${socket}` });
  const folderOfSources = "shared/src/identity/sources/";
  assert.deepEqual(
    own.filter((name) => name.startsWith(folderOfSources)).map((name) => name.slice(folderOfSources.length)),
    ["expiry.ts", "published.ts", "workload-api.ts", "workload-response.ts"],
  );
  const list = readFileSync(moduleListFile, "utf8");
  assert.doesNotMatch(list, /shared\/src\/grpc|workload-api|ca-source/);
});
