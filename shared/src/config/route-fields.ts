// Pure. Which header fields a route may set, add or remove, and to what: never those by which a hop frames a message, ends a
// connection or says who called.

/** Framing and what ends at each hop (RFC 9110 section 7.6.1), and what a waypoint itself says of a request. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "upgrade",
  "http2-settings",
  "expect",
  "x-forwarded-for",
  "x-forwarded-client-cert",
  "x-request-id",
  "x-culvert-via",
]);

const NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/;
/** As Gateway API bounds it. */
const LONGEST_VALUE = 4096;
// oxlint-disable-next-line eslint/no-control-regex -- controls are what is looked for
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/** Why a route may not touch the field of this name, in any case; `undefined` when it may. */
export function routeFieldProblem(name: string): string | undefined {
  if (name.startsWith(":")) return `expected a header name, found the pseudo header ${JSON.stringify(name)}`;
  if (!NAME.test(name)) return `expected a header name, found ${JSON.stringify(name.slice(0, 80))}`;
  // Applications that turn names into variables read underscores and hyphens as the same.
  const plain = name.toLowerCase().replaceAll("_", "-");
  if (!OWN_FIELDS.has(plain)) return undefined;
  return plain === "host" ? "the host is changed by URLRewrite, not as a header" : `${plain} is the proxy's own`;
}

/** Why this cannot be the value of a header field (RFC 9110 section 5.5); `undefined` when it can. */
export function routeValueProblem(value: string): string | undefined {
  if (value.length > LONGEST_VALUE) return `expected at most ${LONGEST_VALUE} characters, found ${value.length}`;
  return CONTROL.test(value) ? "expected a value without control characters such as line ends" : undefined;
}
