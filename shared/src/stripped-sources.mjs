// Machine. Makes Node load the TypeScript sources of a checkout without their types.
//
// Node takes types out with a WebAssembly program that stays in memory once it was used: 20 MiB of private memory, and half
// of the time to start. So a child process takes them out of all sources once after each change, and programs load what it
// left; names, lines and columns stay those of the sources. (Node's compile cache would spare the WebAssembly too, but keeps
// what it has read in memory: 1.7 MiB, for a start that is no faster.) What ships has no types and needs none of it.
import { hash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { registerHooks } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const CHECKOUT = join(fileURLToPath(import.meta.url), "../../..");

const FOLDERS = ["shared/src", "uproxy/src", "waypoint/src", "deploy/authority/src"];

/**
 * From now on modules of this checkout come without types, where those can be kept; elsewhere Node takes them out itself.
 *
 * @returns {Promise<void>}
 */
export async function loadStripped() {
  const stripped = await strippedSources();
  if (stripped !== undefined) loadFrom(stripped);
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
    const state = hash("sha256", [process.version, ...states].join("\n")).slice(0, 16);
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
  registerHooks({
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
