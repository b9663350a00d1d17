// Root. `node canonical.ts [RUNS] [SEED]`: paths against a slow normalizer that follows the RFC step by step, hosts against another
// reader of URLs: what we let through, nobody may take for something else.
import assert from "node:assert/strict";
import process from "node:process";
import type { PathNormalization } from "@culvert/shared/config/process/process-config.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { canonicalHost } from "@culvert/waypoint/canonical/host.ts";
import { normalizePath } from "@culvert/waypoint/canonical/path.ts";
import * as fc from "fast-check";
import hosts from "../conformance/cases/host.json" with { type: "json" };
import paths from "../conformance/cases/path.json" with { type: "json" };

const LEVELS = ["none", "base", "merge-slashes", "decode-and-merge-slashes"] as const;
const PATH_PIECES = "/ // \\ . .. %2e %2E %2f %2F %5c %00 % %2 %25 2e 2f a A ~ ; ? # %c0%ae %7f \u007f \u00e9".split(
  " ",
);
const HOST_PIECES = [..."a Z 0 1 9 . : - _ [ ] % @ / , * x 0x7f 127 ::1 ffff :80 xn-- \u00e9 . .".split(" "), " "];

/** A row of the table with some of its characters cut and others put in. */
function mutated(rows: readonly string[], pieces: readonly string[]): fc.Arbitrary<string> {
  const change = fc.tuple(fc.nat(60), fc.nat(2), fc.constantFrom("", ...pieces));
  return fc.tuple(fc.constantFrom(...rows), fc.array(change, { maxLength: 4 })).map(([row, changes]) => {
    let text = row;
    for (const [at, cut, piece] of changes) {
      const position = at % (text.length + 1);
      text = text.slice(0, position) + piece + text.slice(position + cut);
    }
    return text;
  });
}

const anyPath = fc.oneof(
  mutated([...paths.normalized.map(({ raw }) => raw), ...paths.refused], PATH_PIECES),
  fc.array(fc.constantFrom(...PATH_PIECES), { maxLength: 12 }).map((pieces) => pieces.join("")),
);
const anyHost = fc.oneof(
  mutated([...hosts.canonical.map(({ raw }) => raw), ...hosts.refused], HOST_PIECES),
  fc.array(fc.constantFrom(...HOST_PIECES), { maxLength: 8 }).map((pieces) => pieces.join("")),
);

/** The steps one after another, each as it is written; `undefined`: refused. */
function slowly(raw: string, level: PathNormalization): string | undefined {
  if (!/^(?:[!-$&-~]|%(?!00)[0-9A-Fa-f]{2})*$/.test(raw)) return undefined;
  if (level === "none") return raw;
  let text = raw.replaceAll(/%[0-9A-Fa-f]{2}/g, (escape) => {
    const character = decodeURIComponent(Number.parseInt(escape.slice(1), 16) < 0x80 ? escape : "x");
    if (escape.slice(1).toLowerCase() > "7f") return escape;
    if (/[A-Za-z0-9._~-]/.test(character)) return character;
    return level === "decode-and-merge-slashes" && /[/\\]/.test(character) ? "/" : escape;
  });
  text = withoutDots(text.replaceAll("\\", "/"));
  return level === "base" ? text : text.replaceAll(/\/+/g, "/");
}

/** RFC 3986 section 5.2.4, to the letter; paths begin with a slash. */
function withoutDots(path: string): string {
  let input = path;
  let output = "";
  while (input !== "") {
    if (input.startsWith("/./")) input = input.slice(2);
    else if (input === "/.") input = "/";
    else if (input.startsWith("/../") || input === "/..") {
      input = input === "/.." ? "/" : input.slice(3);
      output = output.slice(0, Math.max(0, output.lastIndexOf("/")));
    } else {
      const [segment = ""] = /^\/[^/]*/.exec(input) ?? [];
      output += segment;
      input = input.slice(segment.length);
    }
  }
  return output;
}

function checkPath(raw: string, level: PathNormalization): void {
  const found = normalizePath(raw, level);
  assert.equal(isFailure(found) ? undefined : found, slowly(raw, level), `${JSON.stringify(raw)} at ${level}`);
  if (!isFailure(found)) assert.equal(normalizePath(found, level), found, "normalized once is normalized");
}

function checkHost(raw: string): void {
  const found = canonicalHost(raw);
  if (isFailure(found)) return;
  const again = canonicalHost(found.text);
  assert.ok(!isFailure(again) && again.text === found.text, `${raw}: canonical once is canonical`);
  const upper = canonicalHost(raw.toUpperCase());
  assert.ok(!isFailure(upper) && upper.text === found.text, `${raw}: case makes no other host`);
  const url = `http://${raw}/`;
  // Labels that claim to be encoded and are not.
  if (found.hostname.includes("xn--") && !URL.canParse(url)) return;
  const theirs = new URL(url);
  const name = theirs.hostname.replace(/\.$/, "");
  const mapped = canonicalHost(name);
  assert.equal(isFailure(mapped) ? name : mapped.hostname, found.hostname, `${raw} is the host that others see`);
  assert.equal(Number(theirs.port || "80"), found.port ?? 80, `${raw} has the port that others see`);
  assert.equal(theirs.username + theirs.password, "");
}

/** Checks the rows of the tables, then `runs` others; throws with the smallest one that is wrong. */
export function fuzzCanonical(runs: number, seed?: number): void {
  const options = { numRuns: runs, ...(seed === undefined ? {} : { seed }) };
  for (const level of LEVELS) for (const { raw } of paths.normalized) checkPath(raw, level);
  for (const { raw } of hosts.canonical) checkHost(raw);
  fc.assert(
    fc.property(anyPath, fc.constantFrom(...LEVELS), (text, level) => checkPath(`/${text}`, level)),
    options,
  );
  fc.assert(
    fc.property(anyHost, (text) => checkHost(text)),
    options,
  );
}

if (import.meta.main) {
  const [runs = "500000", seed] = process.argv.slice(2);
  fuzzCanonical(Number(runs), seed === undefined ? undefined : Number(seed));
  process.stdout.write(`${runs} paths and ${runs} hosts, no difference\n`);
}
