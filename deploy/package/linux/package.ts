// Root. `pnpm package [FOLDER] [--revision N]… [--fast]`: a Debian package and a tarball for a Linux host of this architecture, in `dist`
// unless a folder is named; with several revisions a package of each. `--fast` packs in seconds and not in a minute, and as large as it
// is: for tests.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { debianPackage, sameTimes, type Build } from "./debian.ts";
import { Contents } from "./tree.ts";

const ROOT = join(import.meta.dirname, "../../..");
const BYTES_PER_MIB = 1024 * 1024;
/** Debian's names, by Node's. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };
/** Time of what is made outside of a checkout. */
const NO_COMMIT = 1_700_000_000;

/** Time of the commit, so that two builds of it are the same. */
function commitTime(): number {
  try {
    return Number(execFileSync("git", ["log", "-1", "--format=%ct"], { cwd: ROOT, encoding: "utf8" }));
  } catch {
    return NO_COMMIT;
  }
}

/** Makes `culvert-VERSION-linux-ARCHITECTURE.tar.gz`, which is unpacked in `/opt`; its path. */
function tarball(contents: Contents, { version, architecture, epoch, isFast }: Build, out: string): string {
  const root = mkdtempSync(join(tmpdir(), "culvert-tarball-"));
  const at = "/opt/culvert";
  try {
    contents.install(root, {
      bin: `${at}/bin`,
      lib: `${at}/lib`,
      units: `${at}/systemd`,
      sysusers: `${at}/sysusers.d`,
      config: `${at}/etc`,
      doc: `${at}/doc`,
      man: `${at}/share/man`,
    });
    sameTimes(root, epoch);
    const path = join(out, `culvert-${version}-linux-${architecture}.tar.gz`);
    const same = ["--sort=name", "--owner=root:0", "--group=root:0", "--format=gnu"];
    // The time of gzip's own header is nobody's.
    execFileSync("tar", [
      `--use-compress-program=gzip -n${isFast ? 1 : 9}`,
      ...same,
      "-cf",
      path,
      "-C",
      join(root, "opt"),
      "culvert",
    ]);
    return path;
  } finally {
    rmSync(root, { recursive: true });
  }
}

const { values, positionals } = parseArgs({
  options: { revision: { type: "string", multiple: true, default: ["1"] }, fast: { type: "boolean", default: false } },
  allowPositionals: true,
});
const architecture = ARCHITECTURES[process.arch];
if (architecture === undefined)
  throw new Error(`expected one of ${Object.keys(ARCHITECTURES).join(", ")}, found ${process.arch}`);
for (const revision of values.revision) {
  if (!/^[1-9]\d{0,5}$/.test(revision)) throw new Error(`--revision: expected 1 to 999999, found ${revision}`);
}
const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
const build: Build = { version, architecture, epoch: commitTime(), isFast: values.fast };
const out = resolve(positionals[0] ?? join(ROOT, "dist"));
mkdirSync(out, { recursive: true });
const contents = await Contents.make(build);
try {
  const packages = values.revision.map((revision) => debianPackage(contents, build, Number(revision), out));
  for (const path of [...packages, tarball(contents, build, out)]) {
    process.stdout.write(`${path}: ${(statSync(path).size / BYTES_PER_MIB).toFixed(1)} MiB\n`);
  }
} finally {
  contents.close();
}
