// Machine. What a build is: version, commit where one is known, Node, OpenSSL. Reads the checkout's own `.git`, at the start only.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../package.json" with { type: "json" };

/** What a build is called. */
export interface BuildVersion {
  readonly version: string;
  /** Hex, or `unknown` outside of a checkout. */
  readonly commit: string;
}

/** Written in by the bundler: a bundle may lie in somebody else's checkout. Sources ask their own. */
declare const CULVERT_COMMIT: string | undefined;

const CHECKOUT = join(import.meta.dirname, "../../..");
const COMMIT = /^[0-9a-f]{40,64}$/;
const REF = /^ref: (refs\/[\w./-]+)$/;

/** Version and commit of this build. Reads files: for the start of a program, not for its work. */
export function buildVersion(): BuildVersion {
  const commit = typeof CULVERT_COMMIT === "string" ? CULVERT_COMMIT : commitOf(CHECKOUT);
  return { version: manifest.version, commit: commit ?? "unknown" };
}

/** The line of `--version` of the program of that name. */
export function versionLine(program: string): string {
  const { version, commit } = buildVersion();
  const { node, openssl } = process.versions;
  return `${program} ${version}, commit ${commit}, Node ${node}, OpenSSL ${openssl}`;
}

/** The commit that a folder's checkout stands on; undefined when it is none or cannot be read. */
export function commitOf(folder: string): string | undefined {
  const git = join(folder, ".git");
  const head = textOf(join(git, "HEAD"))?.trim();
  const ref = head === undefined ? undefined : REF.exec(head)?.[1];
  const commit = ref === undefined ? head : (textOf(join(git, ref))?.trim() ?? packedCommit(git, ref));
  return commit !== undefined && COMMIT.test(commit) ? commit : undefined;
}

/** Git moves refs that have not changed for long into one file of `<commit> <ref>` lines. */
function packedCommit(git: string, ref: string): string | undefined {
  const lines = textOf(join(git, "packed-refs"))?.split("\n");
  return lines?.find((line) => line.endsWith(` ${ref}`))?.split(" ")[0];
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
