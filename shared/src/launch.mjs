// Root. Starts a program from its TypeScript sources, without their types.
//
// Node takes types out with a WebAssembly program that stays in memory once it was used: 20 MiB of private memory, and half
// of the time to start. So a child process takes them out of all sources once after each change, and programs load what it
// left; names, lines and columns stay those of the sources. (Node's compile cache would spare the WebAssembly too, but keeps
// what it has read in memory: 1.7 MiB, for a start that is no faster.) Images ship one bundled file and need none of it.
//
// This file is plain JavaScript because it runs before any of that. What old versions of Node lack is taken from the modules as
// a whole, so that they come as far as the check.
import crypto from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import nodeModule from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const CHECKOUT = join(fileURLToPath(import.meta.url), "../../..");
/** The first version of Node.js whose security fixes and modules are built upon. */
const OLDEST_NODE = 26;

const FOLDERS = ["shared/src", "uproxy/src", "waypoint/src", "deploy/authority/src"];

/**
 * Runs the program whose root file is `main`; under a Node.js that is too old says so and ends with 1.
 *
 * @param {string} main file URL of its `main.ts`
 * @returns {Promise<void>}
 */
export async function launch(main) {
  if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
    process.stderr.write(
      `Node.js ${OLDEST_NODE} or newer is needed, this is ${process.version} (${process.execPath}); ` +
        "the project's own comes with `npx --yes pnpm@12 install`, in node_modules/.bin\n",
    );
    process.exitCode = 1;
    return;
  }
  const stripped = await strippedSources();
  if (stripped !== undefined) loadFrom(stripped);
  await import(main);
}

/** The folder that holds exactly these sources without types; undefined where none can be kept, and Node has to do it. */
async function strippedSources() {
  try {
    const paths = FOLDERS.flatMap((folder) =>
      readdirSync(join(CHECKOUT, folder), { recursive: true })
        .filter((path) => path.endsWith(".ts") && !path.endsWith(".test.ts"))
        .map((path) => join(folder, path)),
    );
    const states = paths.map((path) => {
      const { mtimeMs, size } = statSync(join(CHECKOUT, path));
      return `${path} ${mtimeMs} ${size}`;
    });
    const state = crypto.hash("sha256", [process.version, ...states].join("\n")).slice(0, 16);
    const folder = join(CHECKOUT, "node_modules/.cache/culvert", state);
    if (statSync(folder, { throwIfNoEntry: false }) !== undefined) return folder;
    const { stripInChild } = await import("./strip-types.mjs");
    return stripInChild(CHECKOUT, paths, folder) ? folder : undefined;
  } catch {
    return undefined;
  }
}

function loadFrom(folder) {
  const checkout = `${pathToFileURL(CHECKOUT)}/`;
  nodeModule.registerHooks({
    load(url, context, nextLoad) {
      if (!url.startsWith(checkout) || !url.endsWith(".ts")) return nextLoad(url, context);
      try {
        const source = readFileSync(join(folder, url.slice(checkout.length)));
        return { format: "module", source, shortCircuit: true };
      } catch {
        // A newer start has cleared the folder of these sources away.
        return nextLoad(url, context);
      }
    },
  });
}
