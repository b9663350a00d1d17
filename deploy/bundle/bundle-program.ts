// Machine. Makes one JavaScript file of a program, which runs with nothing but Node beside it, and says what is in it.
// `<program>.mjs.map` tells where a line of a stack trace comes from; programs do not read it.
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { commitOf } from "@culvert/shared/config/version.ts";
import { build, type Metafile, type Plugin } from "esbuild";
import { builtInModules } from "./built-in-modules.ts";

const ROOT = join(import.meta.dirname, "../..");

/** A package of the registry that is in a bundle. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** As the package says it, mostly an SPDX expression; empty when it says nothing. */
  readonly license: string;
}

/** What was written. */
export interface Bundle {
  readonly path: string;
  readonly bytes: number;
  /** Sorted by name. */
  readonly packages: readonly BundledPackage[];
}

/** Launcher, whose first line has Node's flags, and root file of each program. */
export const PROGRAMS = {
  uproxy: { launcher: "uproxy/bin/uproxy.mjs", main: "uproxy/src/main.ts" },
  waypoint: { launcher: "waypoint/bin/waypoint.mjs", main: "waypoint/src/main.ts" },
  authority: { launcher: "deploy/authority/bin/authority.mjs", main: "deploy/authority/src/main.ts" },
  // The apps of the demo, for the images that a compose file runs.
  bookshop: { launcher: "deploy/demo/bookshop.ts", main: "deploy/demo/bookshop.ts" },
} as const;

/** A program that can be bundled. */
export type ProgramName = keyof typeof PROGRAMS;

/** Node's flags that a program wants, as the first line of its launcher names them. */
export function interpreterFlags(program: ProgramName): string[] {
  const first = firstLine(program);
  return first.startsWith("#!") ? first.split(/\s+/).filter((word) => word.startsWith("--")) : [];
}

function firstLine(program: ProgramName): string {
  const [first = ""] = readFileSync(join(ROOT, PROGRAMS[program].launcher), "utf8").split("\n", 1);
  return first;
}

/** Builds one program whole into a folder that exists. */
export async function bundleProgram(program: ProgramName, folder: string): Promise<Bundle> {
  const { main } = PROGRAMS[program];
  const outfile = join(folder, `${program}.mjs`);
  const { metafile, outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: [main],
    outfile,
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    platform: "node",
    target: `node${process.versions.node.split(".")[0]}`,
    minify: true,
    // Apart, for those who read a stack trace: in memory it would cost more than the program.
    sourcemap: "external",
    sourcesContent: false,
    legalComments: "none",
    logLevel: "warning",
    define: { CULVERT_COMMIT: JSON.stringify(commitOf(ROOT) ?? "unknown") },
    plugins: [
      builtInModules({
        // Written as ECMAScript modules, of which only what is used is taken; the package gives Node its other form.
        yaml: yamlModules(),
      }),
      withoutYamlWriter,
      partsAtOnce,
    ],
  });
  const packages = packagesIn(metafile);
  for (const { path, text } of outputFiles) {
    const whole = path === outfile ? `${firstLine(program)}\n${withoutHashbang(text)}${licences(packages)}` : text;
    writeFileSync(path, whole);
  }
  chmodSync(outfile, 0o755);
  return { path: outfile, bytes: readFileSync(outfile).length, packages };
}

function yamlModules(): string {
  const main = createRequire(join(ROOT, "shared/package.json")).resolve("yaml");
  return join(dirname(main), "../browser/dist/index.js");
}

/**
 * YAML is read here and never written, but what reads makes documents that could write themselves: 17 KiB that no bundler can
 * see to be unused. Whoever calls it all the same is told.
 */
const withoutYamlWriter: Plugin = {
  name: "without-yaml-writer",
  setup(building) {
    building.onLoad({ filter: /\/yaml\/browser\/dist\/stringify\/\w+\.js$/ }, ({ path }) => {
      const names = /^export \{([^}]*)\};?$/m.exec(readFileSync(path, "utf8"))?.[1];
      if (names === undefined) throw new Error(`${path} has no list of exports`);
      const stubs = names.split(",").map((name) => `export const ${name.trim()} = unused;`);
      const unused = 'const unused = () => { throw new Error("the writer of YAML is not in this bundle"); };';
      return { contents: [unused, ...stubs].join("\n") };
    });
  },
};

/**
 * Parts that sources load when they are configured are in the one file anyway. Kept apart in it, each module that they share with
 * the rest would be wrapped, 9 KiB in all; at once they cost neither start nor memory that could be measured, for V8 compiles a
 * function when it is first called. Packages stay apart: what they do when they are loaded is not ours to know.
 */
const partsAtOnce: Plugin = {
  name: "parts-at-once",
  setup(building) {
    building.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => {
      const imports: string[] = [];
      const own = /\bawait import\(("(?:\.|@culvert\/)[^"]*")\)/g;
      const text = readFileSync(path, "utf8").replaceAll(own, (_all, from: string) => {
        const name = `part${imports.length}`;
        imports.push(`import * as ${name} from ${from};`);
        return name;
      });
      return { contents: [text, ...imports].join("\n"), loader: "ts" };
    });
  },
};

/** The entry has one of its own, for the sources; the map counts its line too, so that one line takes the place of one. */
function withoutHashbang(text: string): string {
  return text.replace(/^#!.*\n/, "");
}

interface PackageFiles extends BundledPackage {
  readonly folder: string;
  /** Its files of which something is in the bundle. */
  readonly files: readonly string[];
}

/** The packages inside, by the order of their folders. */
function packagesIn({ inputs }: Metafile): PackageFiles[] {
  const folders = new Map<string, string[]>();
  for (const path of Object.keys(inputs)) {
    const folder = /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(path)?.[0];
    if (folder === undefined) continue;
    const whole = join(ROOT, folder);
    folders.set(whole, [...(folders.get(whole) ?? []), join(ROOT, path)]);
  }
  return [...folders]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([packageFolder, files]) => {
      const manifest = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8")) as Record<string, string>;
      const { name = "", version = "", license = "" } = manifest;
      return { name, version, license, folder: packageFolder, files };
    });
}

/** The licences of the packages inside, as comments: they ask to go where the code goes. */
function licences(packages: readonly PackageFiles[]): string {
  const byText = new Map<string, string[]>();
  for (const { name, version, license, folder, files } of packages) {
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined && !license.includes("Apache-2.0"))
      throw new Error(`${name} has no licence text in ${folder}`);
    const whole = file === undefined ? apacheAnd(files) : readFileSync(join(folder, file), "utf8");
    const text = whole.trim().replaceAll("*/", "* /");
    byText.set(text, [...(byText.get(text) ?? []), `${name} ${version}`]);
  }
  return [...byText].map(([text, names]) => `/*! ${names.join(", ")}\n${text}\n*/\n`).join("");
}

/** For a package that brings no text: that of Apache-2.0, and what heads of its files say of others. */
function apacheAnd(files: readonly string[]): string {
  const heads = files.map((file) => /^(?:\/\/.*\n)+/.exec(readFileSync(file, "utf8"))?.[0] ?? "");
  const others = new Set(heads.filter((head) => head !== "" && !head.includes("Licensed under the Apache License")));
  return [readFileSync(join(ROOT, "LICENSE"), "utf8"), ...others].join("\n");
}
