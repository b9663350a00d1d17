// Machine. Which modules a uproxy has loaded by the time that it is ready, in the configuration that users begin with.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { REPOSITORY } from "./env.ts";
import { mintIdentities, identityOf } from "./identities.ts";
import { startProgram } from "./process.ts";
import { commandLine, runProgram, writeResources, writeWhole } from "./programs.ts";
import { service, workloadEntry } from "./resources.ts";

/** Names of modules, each list sorted. */
export interface ModuleCensus {
  /** Sources of our own, from the root of the checkout. */
  readonly own: readonly string[];
  /** Files of packages, from the name of the package. */
  readonly packages: readonly string[];
  /** Modules of Node, its internal ones included. */
  readonly builtIn: readonly string[];
}

/** What `moduleListText` gave when it was last looked at. */
export const moduleListFile: string = join(REPOSITORY, "test/e2e/modules.txt");

/** One module a line: `own`, `package` or `node`, and its name. */
export function moduleListText({ own, packages, builtIn }: ModuleCensus): string {
  const lines = [
    ...own.map((name) => `own ${name}`),
    ...packages.map((name) => `package ${name}`),
    ...builtIn.map((name) => `node ${name}`),
  ];
  return `${lines.join("\n")}\n`;
}

/** Starts a uproxy with an identity, mounted as files unless said otherwise, a small mesh and all else as it is by default but for the
 * ports, and ends it. */
export async function moduleCensus(folder: string, identity?: unknown): Promise<ModuleCensus> {
  // The first start after a change of the sources takes their types out, and loads what does that.
  await runProgram("uproxy", ["--version"]);
  const own = join(folder, "census");
  mkdirSync(own);
  await mintIdentities(join(own, "identities"), ["app"]);
  writeResources(join(own, "mesh"), "mesh", [
    service("app", [{ name: "http", port: 80 }]),
    workloadEntry("app", "127.0.0.1", { serviceAccount: "app" }),
  ]);
  const free = "127.0.0.1:0";
  const config = {
    identity: identity ?? { files: identityOf(join(own, "identities"), "app").folder },
    resources: { files: join(own, "mesh") },
    inbound: { hbone: free },
    outbound: { listeners: [{ listen: free, to: "app:80" }], proxy: free },
    admin: free,
    readiness: free,
    metrics: free,
  };
  writeWhole(join(own, "uproxy.yaml"), stringify(config));
  const { command, args } = commandLine("uproxy", ["run", "--config", join(own, "uproxy.yaml")]);
  const preload = join(import.meta.dirname, "census-process.mjs");
  const program = startProgram({ name: "census", command, args: ["--import", preload, ...args] });
  await program.line(/"message":"ready"/);
  await program.stop();
  const line = await program.line(/^modules /);
  const found = JSON.parse(line.slice("modules ".length)) as { urls: readonly string[]; builtIn: readonly string[] };
  const paths = [...new Set(found.urls)]
    .filter((url) => url.startsWith("file:"))
    .map((url) => url.slice("file://".length));
  const inPackage = paths.map((path) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+\/.*)$/.exec(path)?.[1]);
  return {
    own: paths
      .filter((path, index) => inPackage[index] === undefined && path.startsWith(REPOSITORY))
      .map((path) => path.slice(REPOSITORY.length + 1))
      .filter((path) => !path.startsWith("test/"))
      .toSorted(),
    packages: inPackage.filter((path) => path !== undefined).toSorted(),
    builtIn: found.builtIn.toSorted(),
  };
}
