// Manifests and imports as they are packed.
import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";
import { packedManifest, scriptSpecifiers, type Manifest } from "./manifest.ts";

const VERSIONS = {
  catalog: { "@types/node": "26.6.6", yaml: "2.9.1" },
  workspace: { "@culvert/shared": "0.1.0" },
};
const CONTENTS = { folders: ["bin", "src"], modules: ["./bin/x.mjs", "./src/launch.mjs"] };
const MANIFEST: Manifest = {
  name: "@culvert/x",
  version: "0.1.0",
  description: "x",
  type: "module",
  exports: { "./*": "./src/*" },
};

function packed(more: Partial<Manifest>): Record<string, unknown> {
  return packedManifest({ ...MANIFEST, ...more }, VERSIONS, CONTENTS) as Record<string, unknown>;
}

test("dependencies get the versions that were tested", () => {
  const dependencies = { yaml: "catalog:", "@culvert/shared": "workspace:*", other: "1.0.0" };
  deepEqual(packed({ dependencies })["dependencies"], { yaml: "2.9.1", "@culvert/shared": "0.1.0", other: "1.0.0" });
});

test("a dependency that nobody has is refused, and so are a missing description and an export that is no file", () => {
  throws(() => packed({ dependencies: { absent: "catalog:" } }), /@culvert\/x: absent is catalog:/);
  const { description: _none, ...rest } = MANIFEST;
  throws(() => packedManifest(rest, VERSIONS, CONTENTS), /expected a description/);
  throws(() => packed({ exports: { "./folder": "./src" } }), /cannot pack the export .\/folder/);
});

test("modules are exported under the names of what ships, with their types", () => {
  deepEqual(packed({})["exports"], {
    "./*.js": { types: "./src/*.d.ts", default: "./src/*.js" },
    "./launch.mjs": "./src/launch.mjs",
    "./package.json": "./package.json",
  });
  deepEqual(packed({ exports: { ".": "./src/agent.ts", "./dispatcher.ts": "./src/dispatcher.ts" } })["exports"], {
    ".": { types: "./src/agent.d.ts", default: "./src/agent.js" },
    "./dispatcher.js": { types: "./src/dispatcher.d.ts", default: "./src/dispatcher.js" },
    "./package.json": "./package.json",
  });
});

test("nothing of the workspace is left", () => {
  const whole = packed({ publishConfig: { access: "public" } });
  equal("private" in whole || "devDependencies" in whole, false);
  deepEqual([whole["files"], whole["publishConfig"]], [["bin", "src"], { access: "public" }]);
});

test("imports of own modules lead to what ships, and nothing else is touched", () => {
  const kept = [
    'import a from "./a.json" with { type: "json" };',
    'import { b } from "node:fs";',
    'import { c } from "yaml";',
    'const d = "./d.ts";',
    "// see `./e.ts`, and import(x)",
  ];
  equal(scriptSpecifiers(kept.join("\n")), kept.join("\n"));
  const moved = [
    'import { a } from "./a.ts";',
    'export { b } from "../b/b.ts";',
    'import "./c.ts";',
    'const d = await import("@culvert/shared/net/d.ts");',
    'await launch(import.meta.resolve("../src/main.ts"));',
    'type F = import("./f.ts").F;',
    'import {\n  g,\n} from "@culvert/x/g.ts";',
  ];
  equal(scriptSpecifiers(moved.join("\n")), moved.join("\n").replaceAll(".ts", ".js"));
});
