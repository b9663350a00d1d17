// Root. Preloaded into a program by `--import`: when the program ends, one line on stderr says which modules it has loaded.
// Plain JavaScript: what takes out types would be among them.
import { registerHooks } from "node:module";

const urls = new Set();

// What was resolved, not what was loaded: the programs' own hook loads their sources without asking further.
registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context);
    urls.add(resolved.url);
    return resolved;
  },
});

process.on("exit", () => {
  // Not documented, and the only list that also has what Node loads for itself.
  const { moduleLoadList = [] } = process;
  const mark = "NativeModule ";
  const builtIn = moduleLoadList.filter((name) => name.startsWith(mark)).map((name) => name.slice(mark.length));
  process.stderr.write(`modules ${JSON.stringify({ urls: [...urls], builtIn })}\n`);
});
