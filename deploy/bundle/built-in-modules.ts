// Machine. How a bundle takes Node's own modules, and its packages from another place.
import { builtinModules } from "node:module";
import process from "node:process";
import type { Plugin } from "esbuild";

const NAME = /^[A-Za-z_$][\w$]*$/;

/**
 * A plugin that asks Node for its modules when the module that uses them runs, in place of importing them at the top.
 * Importing reads all that a module exports, also what is made when first asked for: `node:http` would load its fetch and
 * WebSocket (a third of the time to start, 2.8 MiB), and a part that is loaded only when it is needed would load all of
 * Node's modules that it uses at the start.
 *
 * @param aliases files to take in place of packages
 */
export function builtInModules(aliases: Readonly<Record<string, string>>): Plugin {
  return {
    name: "built-in-modules",
    setup(build) {
      build.onResolve({ filter: /^[a-z@]/ }, ({ path, kind }) => {
        const alias = aliases[path];
        if (alias !== undefined) return { path: alias };
        // With a slash at its end a name means a package that does the same where Node is not.
        const name = path.replace(/^node:|\/$/g, "");
        if (!path.startsWith("node:") && !builtinModules.includes(name)) return undefined;
        return {
          path: `node:${name}`,
          namespace: kind === "require-call" ? "built-in-require" : "built-in-import",
          sideEffects: false,
        };
      });
      build.onLoad({ filter: /.*/, namespace: "built-in-require" }, ({ path }) => ({
        contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
      }));
      build.onLoad({ filter: /.*/, namespace: "built-in-import" }, ({ path }) => ({ contents: moduleOf(path) }));
    },
  };
}

/** A module with the exports of a module of Node; those that nobody imports fall out of the bundle. */
function moduleOf(path: string): string {
  const found = process.getBuiltinModule(path);
  const names = Object.getOwnPropertyNames(found ?? {}).filter((name) => NAME.test(name) && name !== "default");
  return [
    `const all = /* @__PURE__ */ process.getBuiltinModule(${JSON.stringify(path)});`,
    ...names.flatMap((name, index) => [
      `const e${index} = /* @__PURE__ */ (() => all.${name})();`,
      `export { e${index} as ${name} };`,
    ]),
    "export default all;",
  ].join("\n");
}
