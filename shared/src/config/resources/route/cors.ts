// Pure. The CORS filter (GEP-1767): which pages of other origins may use a service.
import type { HttpRouteFilter } from "../../http-route.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import { atMost } from "./bounds.ts";
import { isToken } from "./matches.ts";

/** Limits of Gateway API. */
const MOST = { origins: 64, methods: 9, headers: 64, originCharacters: 253, ageSeconds: 2 ** 31 - 1 } as const;
const DEFAULT_AGE_SECONDS = 5;

/** Reads `cors`. */
export function parseCors(fields: Fields, report: Report): Extract<HttpRouteFilter, { kind: "cors" }> {
  const allowOrigins = [...texts(fields, "allowOrigins", MOST.origins, isOrigin, "an origin, or *", report)];
  const allowMethods = [...texts(fields, "allowMethods", MOST.methods, isMethod, "a method, or *", report)];
  const allowHeaders = [...texts(fields, "allowHeaders", MOST.headers, isToken, "a header name, or *", report)];
  const exposeHeaders = [...texts(fields, "exposeHeaders", MOST.headers, isToken, "a header name, or *", report)];
  const allowCredentials = fields.boolean("allowCredentials") ?? false;
  const maxAgeSeconds = fields.integer("maxAge", 1, MOST.ageSeconds) ?? DEFAULT_AGE_SECONDS;
  fields.end();
  return { kind: "cors", allowOrigins, allowMethods, allowHeaders, exposeHeaders, allowCredentials, maxAgeSeconds };
}

function* texts(
  fields: Fields,
  name: string,
  most: number,
  accepts: (text: string) => boolean,
  expectation: string,
  report: Report,
): Generator<string> {
  atMost(fields, name, most, report);
  const items = fields.list(name) ?? [];
  for (const { node, path } of items) {
    const value = node.kind === "scalar" && typeof node.value === "string" ? node.value : "";
    if (!accepts(value)) report.expected(node, path, expectation);
    else if (value === "*" && items.length > 1) report.malformed(node, path, "expected * alone");
    else yield value;
  }
}

/** `*` or a name that a method may have. */
function isMethod(text: string): boolean {
  return text === "*" || /^[A-Z]{3,20}$/.test(text);
}

/** `*`, or scheme and host, perhaps with `*.` before it or `*` in its place, perhaps with a port. */
function isOrigin(text: string): boolean {
  if (text === "*") return true;
  const [, host = "", port] =
    /^https?:\/\/(\*|(?:\*\.)?[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?$/.exec(text) ?? [];
  return host !== "" && text.length <= MOST.originCharacters && (port === undefined || (+port > 0 && +port <= 65535));
}
