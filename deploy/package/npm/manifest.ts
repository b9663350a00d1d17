// Pure. The manifest of a package as it ships, from the one of the workspace: JavaScript and declarations in place of TypeScript,
// versions in place of the workspace's own ways to name them.

/** A `package.json` of the workspace, as far as it is read here. */
export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description?: string;
  readonly license?: string;
  readonly type?: string;
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
  readonly engines?: Readonly<Record<string, string>>;
  /** Who has it is meant to be published. */
  readonly publishConfig?: Readonly<Record<string, string>>;
}

/** What stands behind `catalog:` and `workspace:*`. */
export interface Versions {
  readonly catalog: Readonly<Record<string, string>>;
  /** The version of each package of the workspace, by name. */
  readonly workspace: Readonly<Record<string, string>>;
}

/** What a package has beside its manifest. */
export interface Contents {
  /** `bin`, `src`. */
  readonly folders: readonly string[];
  /** Files of plain JavaScript, from the package. */
  readonly modules: readonly string[];
}

/** Declarations name types of Node; who writes JavaScript needs none of them. */
const NODE_TYPES = "@types/node";

/**
 * The manifest to ship. Dependencies are exact: what was tested is what is installed. Throws on what cannot be shipped as it is
 * written, naming the package.
 */
export function packedManifest(manifest: Manifest, versions: Versions, contents: Contents): object {
  const { name, version, description, license, type, bin, exports = {}, dependencies = {}, engines } = manifest;
  const major = /^\d+/.exec(versions.catalog[NODE_TYPES] ?? "")?.[0];
  if (major === undefined) throw new Error(`expected ${NODE_TYPES} in the catalog`);
  if (description === undefined) throw new Error(`${name}: expected a description`);
  return {
    name,
    version,
    description,
    license,
    type,
    ...(bin === undefined ? {} : { bin }),
    exports: { ...packedExports(name, exports, contents), "./package.json": "./package.json" },
    files: contents.folders,
    dependencies: Object.fromEntries(
      Object.entries(dependencies).map(([other, wanted]) => [other, versionOf(name, other, wanted, versions)]),
    ),
    peerDependencies: { ...manifest.peerDependencies, [NODE_TYPES]: `>=${major}` },
    peerDependenciesMeta: { ...manifest.peerDependenciesMeta, [NODE_TYPES]: { optional: true } },
    engines,
    publishConfig: manifest.publishConfig,
  };
}

function versionOf(name: string, other: string, wanted: string, { catalog, workspace }: Versions): string {
  const found = wanted === "catalog:" ? catalog[other] : wanted.startsWith("workspace:") ? workspace[other] : wanted;
  if (found === undefined) throw new Error(`${name}: ${other} is ${wanted}, but nothing there has that name`);
  return found;
}

/** `./*` of TypeScript files becomes `./*.js`, and plain JavaScript keeps its name; a file becomes its JavaScript. */
function packedExports(name: string, exports: Readonly<Record<string, string>>, { modules }: Contents): object {
  const packed: Record<string, unknown> = {};
  for (const [key, target] of Object.entries(exports)) {
    if (key === "./*" && target.endsWith("/*")) {
      packed["./*.js"] = typesAndCode(`${target}.js`);
      const folder = target.slice(0, -1);
      for (const path of modules) {
        if (path.startsWith(folder)) packed[`./${path.slice(folder.length)}`] = path;
      }
    } else if (target.endsWith(".ts")) packed[scriptName(key)] = typesAndCode(scriptName(target));
    else if (/\.m?js$|\.json$/.test(target)) packed[key] = target;
    else throw new Error(`${name}: cannot pack the export ${key}: ${target}`);
  }
  return packed;
}

function typesAndCode(code: string): object {
  return { types: code.replace(/\.js$/, ".d.ts"), default: code };
}

/** The name of what is made of a TypeScript file; other names stay. */
export function scriptName(path: string): string {
  return path.replace(/\.ts$/, ".js");
}

/**
 * Points the imports of one file at what ships: own modules by relative path or by name of package. Comments and other strings stay.
 */
export function scriptSpecifiers(text: string): string {
  const specifier =
    /(\bfrom\s*|\bimport\s*\(\s*|^import\s+|\bimport\.meta\.resolve\(\s*)"((?:\.{1,2}|@culvert)\/[^"\n]+)\.ts"/gm;
  return text.replace(specifier, '$1"$2.js"');
}
