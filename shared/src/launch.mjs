// Root. Starts a program: the check that comes before everything, then its root file. TypeScript sources are loaded without their types
// (`stripped-sources.mjs`); what is packed for npm is JavaScript already.
//
// This file is plain JavaScript, and takes from Node's modules nothing that old versions lack, because it runs before the check.

/** The first version of Node.js whose security fixes and modules are built upon. */
const OLDEST_NODE = 26;

/**
 * Runs the program whose root file is `main`; under a Node.js that is too old says so and ends with 1.
 *
 * @param {string} main file URL of its `main.ts`, or `main.js`
 * @returns {Promise<void>}
 */
export async function launch(main) {
  const isSource = main.endsWith(".ts");
  if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
    const own = isSource ? "; the project's own comes with `npx --yes pnpm@12 install`, in node_modules/.bin" : "";
    process.stderr.write(
      `Node.js ${OLDEST_NODE} or newer is needed, this is ${process.version} (${process.execPath})${own}\n`,
    );
    process.exitCode = 1;
    return;
  }
  if (isSource) {
    const { loadStripped } = await import("./stripped-sources.mjs");
    await loadStripped();
  }
  await import(main);
}
