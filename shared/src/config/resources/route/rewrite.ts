// Pure. URLRewrite and RequestRedirect: another host, another path, another place.
import type { HttpRouteFilter, HttpRouteMatch, PathRewrite, Redirect } from "../../http-route.ts";
import { isDnsName } from "../../names.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import { isPathValue } from "./matches.ts";

const STATUSES = [301, 302, 303, 307, 308] as const;

/** Reads `urlRewrite`. */
export function parseRewrite(
  fields: Fields,
  matches: readonly HttpRouteMatch[],
  report: Report,
): Extract<HttpRouteFilter, { kind: "rewrite" }> {
  const host = fields.string("hostname", "a host name", isDnsName);
  const path = parsePathRewrite(fields, matches, report);
  fields.end();
  return { kind: "rewrite", host, path };
}

/** Reads `requestRedirect`. */
export function parseRedirect(
  fields: Fields,
  matches: readonly HttpRouteMatch[],
  report: Report,
): Extract<HttpRouteFilter, { kind: "redirect" }> {
  const scheme = fields.word("scheme", ["http", "https"]);
  const host = fields.string("hostname", "a host name", isDnsName);
  const port = fields.integer("port", 1, 65535);
  const path = parsePathRewrite(fields, matches, report);
  const status = parseStatus(fields, report);
  fields.end();
  return { kind: "redirect", scheme, host, port, path, status };
}

function parseStatus(fields: Fields, report: Report): Redirect["status"] {
  const node = fields.get("statusCode");
  if (node === undefined) return 302;
  const status = STATUSES.find((each) => node.kind === "scalar" && node.value === each);
  if (status === undefined) report.expected(node, fields.at("statusCode"), STATUSES.join(" | "));
  return status ?? 302;
}

function parsePathRewrite(owner: Fields, matches: readonly HttpRouteMatch[], report: Report): PathRewrite | undefined {
  const fields = owner.fields("path", report);
  if (fields === undefined) return undefined;
  const type = fields.word("type", ["ReplaceFullPath", "ReplacePrefixMatch"]);
  const isPrefix = type === "ReplacePrefixMatch";
  const name = isPrefix ? "replacePrefixMatch" : "replaceFullPath";
  // What follows the prefix begins with a slash of its own, so an empty text takes the prefix away.
  const accepts = (text: string): boolean => isPathValue(text) || (isPrefix && text === "");
  const value = fields.string(name, "a path that begins with / and is in normal form", accepts);
  fields.end();
  if (type === undefined || value === undefined) {
    report.malformed(fields.node, fields.path, "expected a type and what replaces the path");
    return undefined;
  }
  if (isPrefix && !hasOnePrefix(matches)) {
    const text = "expected exactly one match, of type PathPrefix, in the rule of ReplacePrefixMatch";
    report.malformed(fields.node, fields.at("type"), text);
  }
  return { kind: isPrefix ? "prefix" : "full", value };
}

/** A rule without matches has the prefix `/`. */
function hasOnePrefix(matches: readonly HttpRouteMatch[]): boolean {
  return matches.length < 2 && (matches[0]?.path.kind ?? "prefix") === "prefix";
}
