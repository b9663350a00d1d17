// Machine. Packages as npm has them: what `pnpm pack:npm` makes, and a registry on loopback that has it, beside the packages that this
// checkout has installed. So what is packed can be installed by its name, as users do, and nothing comes from elsewhere.
import { execFileSync } from "node:child_process";
import { hash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { basename, join } from "node:path";
import process from "node:process";
import { REPOSITORY } from "./env.ts";
import { succeed } from "./process.ts";

const STORE = join(REPOSITORY, "node_modules/.pnpm");
/** What a manifest and a whole package of ours may take to be read from their archive. */
const MAX_BYTES = 64 * 1024 * 1024;

const PACK_MS = 120_000;

interface Manifest {
  readonly name: string;
  readonly version: string;
}

interface Packed {
  readonly manifest: Manifest;
  readonly tarball: () => Buffer;
}

/** Packs all that is to be published into a new folder; the paths of the tarballs. */
export async function packForNpm(folder: string): Promise<string[]> {
  const script = join(REPOSITORY, "deploy/package/npm/pack.ts");
  const args = ["--disable-warning=ExperimentalWarning", script, folder];
  const printed = await succeed(process.execPath, args, { deadlineMs: PACK_MS });
  return printed.split("\n");
}

/** A registry that runs. */
export interface NpmRegistry {
  readonly url: string;
  stop(): Promise<void>;
}

/** Serves `tarballs`, files as `npm pack` makes them. */
export async function startNpmRegistry(tarballs: readonly string[]): Promise<NpmRegistry> {
  const ours = tarballs.map(packedFile);
  const server = createServer((request, response) => answer(ours, request, response));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  return {
    url: `http://127.0.0.1:${port}/`,
    stop: () =>
      new Promise((stopped) => {
        server.close(() => stopped());
        server.closeAllConnections();
      }),
  };
}

function answer(ours: readonly Packed[], request: IncomingMessage, response: ServerResponse): void {
  const [name = "", version] = decodeURIComponent(request.url ?? "")
    .slice(1)
    .split("/-/");
  const found = [...ours.filter(({ manifest }) => manifest.name === name), ...installed(name)];
  if (version !== undefined) {
    const wanted = found.find(({ manifest }) => `${manifest.version}.tgz` === version);
    response.writeHead(wanted === undefined ? 404 : 200).end(wanted?.tarball());
    return;
  }
  const latest = found[0]?.manifest.version;
  response.writeHead(latest === undefined ? 404 : 200, { "content-type": "application/json" });
  const versions = found.map(({ manifest, tarball }) => {
    const integrity = `sha512-${hash("sha512", tarball(), "base64")}`;
    const url = `http://${request.headers.host}/${name}/-/${manifest.version}.tgz`;
    return [manifest.version, { ...manifest, dist: { tarball: url, integrity } }] as const;
  });
  response.end(JSON.stringify({ name, "dist-tags": { latest }, versions: Object.fromEntries(versions) }));
}

function packedFile(path: string): Packed {
  const text = execFileSync("tar", ["-xzOf", path, "package/package.json"], { encoding: "utf8" });
  return { manifest: JSON.parse(text) as Manifest, tarball: () => readFileSync(path) };
}

/** The versions of a package that this checkout has. */
function installed(name: string): Packed[] {
  const prefix = `${name.replace("/", "+")}@`;
  const folders = readdirSync(STORE)
    .filter((entry) => entry.startsWith(prefix))
    .map((entry) => join(STORE, entry, "node_modules", name))
    .filter((folder) => existsSync(join(folder, "package.json")));
  return folders.map((folder) => ({
    manifest: JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest,
    tarball: () => tarballOf(folder),
  }));
}

/** The same bytes each time: their hash is told before they are asked for. Equal files are links here, which npm does not unpack. */
function tarballOf(folder: string): Buffer {
  const same = [
    "--sort=name",
    "--mtime=@0",
    "--owner=0",
    "--group=0",
    "--exclude=./node_modules",
    "--hard-dereference",
  ];
  const args = [...same, "--transform=s,^\\.,package,", "-cf", "-", "-C", folder, "."];
  const tar = execFileSync("tar", args, { maxBuffer: MAX_BYTES });
  return execFileSync("gzip", ["-n1"], { input: tar, maxBuffer: MAX_BYTES });
}

/** The name that npm gives to the tarball of a package of ours. */
export function packageOf(tarball: string): string {
  return basename(tarball).replace(/^culvert-(.*)-\d+\.\d+\.\d+\.tgz$/, "@culvert/$1");
}
