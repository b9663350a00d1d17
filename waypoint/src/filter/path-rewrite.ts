// Pure. What becomes of the path where a rule rewrites or redirects (Gateway API, HTTPPathModifier).
import type { PathRewrite } from "@culvert/shared/config/http-route.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { normalizePath } from "../canonical/path.ts";

/** Longest path that a route may write. */
const LONGEST_PATH = 1024;

/**
 * The path that a rewrite makes of `path`.
 *
 * @param path canonical, without query
 * @param prefix the path of the match that chose the rule; only of use to the rewriting of prefixes
 * @param rewrite one that `rewriteProblem` has nothing against, after `canonicalRewrite`
 */
export function rewritePath(path: string, prefix: string, rewrite: PathRewrite): string {
  if (rewrite.kind === "full") return rewrite.value;
  const matched = prefix.endsWith("/") ? prefix.length - 1 : prefix.length;
  const replacement = rewrite.value.endsWith("/") ? rewrite.value.slice(0, -1) : rewrite.value;
  const whole = replacement + path.slice(matched);
  return whole === "" ? "/" : whole;
}

/** The rewrite with its value as a request's path would be spelled, so that what is forwarded has one spelling. */
export function canonicalRewrite(rewrite: PathRewrite): PathRewrite {
  if (rewrite.value === "") return rewrite.kind === "full" ? { ...rewrite, value: "/" } : rewrite;
  const path = normalizePath(escaped(rewrite.value));
  return isFailure(path) ? rewrite : { ...rewrite, value: path };
}

/** Why a rewrite cannot be served; `undefined` when it can. `prefix` is the rule's one prefix match, if it has just that. */
export function rewriteProblem(rewrite: PathRewrite, prefix: string | undefined): string | undefined {
  if (rewrite.kind === "prefix" && prefix === undefined) {
    return "ReplacePrefixMatch needs exactly one match, by PathPrefix, in its rule";
  }
  if (rewrite.value === "") return undefined;
  if (rewrite.value.length > LONGEST_PATH) return `expected a path of at most ${LONGEST_PATH} characters`;
  if (!rewrite.value.startsWith("/")) return `expected a path that begins with /, found ${quoted(rewrite.value)}`;
  if (/[?#]/.test(rewrite.value)) return `expected a path without ? and #, found ${quoted(rewrite.value)}`;
  const path = normalizePath(escaped(rewrite.value));
  return isFailure(path) ? `expected a path, found ${quoted(rewrite.value)}: ${path.detail}` : undefined;
}

/** What is not ASCII, and spaces, as a client would have to write it. */
function escaped(text: string): string {
  return text.replaceAll(/[^\x21-\x7e]+/g, (part) => {
    let out = "";
    for (const byte of Buffer.from(part, "utf8")) out += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    return out;
  });
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
