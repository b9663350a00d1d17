// Root. `pnpm pack:npm [FOLDER]`: makes a tarball of each package of the workspace that has a `publishConfig`, in `dist/npm` unless a
// folder is named. Node takes no types out of files below `node_modules`, so tarballs have JavaScript, with the lines and columns
// of the sources, and declarations of types.
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { commitOf } from "@culvert/shared/config/version.ts";
import { parse } from "yaml";
import { packedManifest, scriptName, scriptSpecifiers, type Manifest, type Versions } from "./manifest.ts";

const ROOT = join(import.meta.dirname, "../../..");
/** What a package may have beside its manifest. */
const FOLDERS = ["bin", "src"];
/** Sources that only tests use; and what takes types out, of which there are none. */
const LEFT_OUT = /\.test\.ts$|fixtures?\.ts$|\/strip(?:-types|ped-sources)\.mjs$/;
/** A build says where it comes from; a package has no checkout to ask. */
const COMMIT = "declare const CULVERT_COMMIT: string | undefined;";

interface Package {
  readonly folder: string;
  readonly manifest: Manifest;
}

interface Workspace {
  readonly packages: readonly string[];
  readonly catalog: Readonly<Record<string, string>>;
}

/** Writes the tarballs; returns their paths. */
function packAll(out: string): string[] {
  const workspace = parse(readFileSync(join(ROOT, "pnpm-workspace.yaml"), "utf8")) as Workspace;
  const all = workspace.packages.map((folder) => ({ folder, manifest: manifestOf(folder) }));
  const versions: Versions = {
    catalog: workspace.catalog,
    workspace: Object.fromEntries(all.map(({ manifest }) => [manifest.name, manifest.version])),
  };
  const packages = all.filter(({ manifest }) => manifest.publishConfig !== undefined);
  const staging = mkdtempSync(join(tmpdir(), "culvert-npm-"));
  try {
    const sources = packages.map(({ folder }) => filesOf(folder, "ts"));
    declare(staging, sources.flat());
    mkdirSync(out, { recursive: true });
    return packages.map((one, index) => {
      stage(staging, one, sources[index] ?? [], versions);
      return join(out, tarball(join(staging, one.folder), out));
    });
  } finally {
    rmSync(staging, { recursive: true });
  }
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(ROOT, folder, "package.json"), "utf8")) as Manifest;
}

/** What ships of the files that end so, from the root. */
function filesOf(folder: string, ending: string): string[] {
  const files = globSync(`${folder}/{${FOLDERS.join(",")}}/**/*.${ending}`, { cwd: ROOT });
  return files.filter((path) => !LEFT_OUT.test(path)).toSorted();
}

/** Writes the declarations of all sources, each where its source is from the root. */
function declare(staging: string, sources: readonly string[]): void {
  const config = join(staging, "tsconfig.json");
  const options = { noEmit: false, declaration: true, emitDeclarationOnly: true, rootDir: ROOT, outDir: staging };
  const content = {
    extends: join(ROOT, "tsconfig.json"),
    compilerOptions: { ...options, typeRoots: [join(ROOT, "node_modules/@types")] },
    include: [],
    files: sources.map((path) => join(ROOT, path)),
  };
  writeFileSync(config, JSON.stringify(content));
  execFileSync(join(ROOT, "node_modules/.bin/tsc"), ["--project", config], { stdio: "inherit" });
}

/** Puts everything of one package beside its declarations. */
function stage(staging: string, { folder, manifest }: Package, sources: readonly string[], versions: Versions): void {
  const commit = `const CULVERT_COMMIT = ${JSON.stringify(commitOf(ROOT) ?? "unknown")};`;
  for (const path of sources) {
    const code = stripTypeScriptTypes(readFileSync(join(ROOT, path), "utf8").replace(COMMIT, commit));
    write(join(staging, scriptName(path)), scriptSpecifiers(code));
    const declaration = join(staging, path.replace(/\.ts$/, ".d.ts"));
    writeFileSync(declaration, scriptSpecifiers(readFileSync(declaration, "utf8")));
  }
  const modules = filesOf(folder, "mjs");
  for (const path of modules) {
    write(join(staging, path), scriptSpecifiers(readFileSync(join(ROOT, path), "utf8")));
  }
  const folders = FOLDERS.filter((name) => existsSync(join(staging, folder, name)));
  const contents = { folders, modules: modules.map((path) => `.${path.slice(folder.length)}`) };
  const packed = packedManifest(manifest, versions, contents);
  write(join(staging, folder, "package.json"), `${JSON.stringify(packed, undefined, 2)}\n`);
  copyFileSync(join(ROOT, folder, "README.md"), join(staging, folder, "README.md"));
  copyFileSync(join(ROOT, "LICENSE"), join(staging, folder, "LICENSE"));
}

function write(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

/** Its file name; npm gives every file in it one time, so that equal sources make equal tarballs. */
function tarball(folder: string, out: string): string {
  const printed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", out], {
    cwd: folder,
    encoding: "utf8",
  });
  const [made] = JSON.parse(printed) as readonly { filename: string }[];
  if (made === undefined) throw new Error(`npm pack made nothing of ${folder}`);
  return made.filename;
}

for (const path of packAll(resolve(process.argv[2] ?? join(ROOT, "dist/npm")))) process.stdout.write(`${path}\n`);
