// Pure. Where a client is sent instead (Gateway API, HTTPRequestRedirectFilter): `Location` in full.
import type { Redirect } from "@culvert/shared/config/http-route.ts";
import { rewritePath } from "./path-rewrite.ts";

/** The request that is answered so. */
export interface Redirected {
  readonly scheme: "http" | "https";
  /** Canonical, without port; an IPv6 address without brackets. */
  readonly hostname: string;
  /** The Service port that the client used. */
  readonly port: number;
  /** Canonical, without query. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  /** The path of the match that chose the rule. */
  readonly prefix: string;
}

/**
 * The absolute URI to go to. The port is the filter's; without one it is that of the filter's scheme, else that of the
 * request. A scheme's own port is not written.
 *
 * @param redirect its path as `canonicalRewrite` made it
 */
export function redirectLocation(request: Redirected, redirect: Redirect): string {
  const scheme = redirect.scheme ?? request.scheme;
  const usual = scheme === "https" ? 443 : 80;
  const port = redirect.port ?? (redirect.scheme === undefined ? request.port : usual);
  const host = redirect.host ?? request.hostname;
  const bracketed = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  const path = redirect.path === undefined ? request.path : rewritePath(request.path, request.prefix, redirect.path);
  return `${scheme}://${bracketed}${port === usual ? "" : `:${port}`}${path}${request.query}`;
}
