// Pure. How long the requests of a rule may take, when they are sent again, and which of them belong together.
import { hash } from "node:crypto";
import type { RouteRetry, RouteTimeouts, SessionPersistence } from "../../http-route.ts";
import type { Fields } from "../fields.ts";
import { routeFieldProblem } from "../../route-fields.ts";
import type { Report } from "../report.ts";
import { atMost } from "./bounds.ts";
import { isToken } from "./matches.ts";

/** Waits between attempts when nothing is said; the size of one attempt's jitter, so that many clients do not come back at once. */
const DEFAULT_BACKOFF_MS = 25;
const DEFAULT_ATTEMPTS = 1;
/** Attempts of one request are load that its backends did not ask for. */
const MOST_ATTEMPTS = 25;
const MOST_CODES = 64;
const LONGEST_TIMER_MS = 2 ** 31 - 1_000;
const MOST_NAME_CHARACTERS = 128;

const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
  ["ms", 1],
]);

/** A duration of Gateway API (GEP-2257) in milliseconds: up to four of `h`, `m`, `s` and `ms`, each with up to five digits. */
export function parseGatewayDuration(text: string): number | undefined {
  if (!/^(?:\d{1,5}(?:h|ms|m|s)){1,4}$/.test(text)) return undefined;
  let total = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)(h|ms|m|s)/g))
    total += Number(digits) * (UNIT_MS.get(unit ?? "") ?? 0);
  return total;
}

/** A field that is a duration. */
export function durationField(fields: Fields, name: string): number | undefined {
  const text = fields.string(
    name,
    "a duration such as 500ms, 10s or 1h30m",
    (each) => parseGatewayDuration(each) !== undefined,
  );
  return text === undefined ? undefined : parseGatewayDuration(text);
}

/** A duration that a timer waits for. The runtime's timers take no more than 24 days, and fire at once when asked for more; there is room for what is added at random. */
function timerField(fields: Fields, name: string): number | undefined {
  const ms = durationField(fields, name);
  return ms === undefined ? undefined : Math.min(ms, LONGEST_TIMER_MS);
}

/** Reads `timeouts`; what is absent is without bound. */
export function parseTimeouts(rule: Fields, report: Report): RouteTimeouts {
  const fields = rule.fields("timeouts", report);
  if (fields === undefined) return { requestMs: 0, backendRequestMs: 0 };
  const requestMs = timerField(fields, "request") ?? 0;
  const backendRequestMs = timerField(fields, "backendRequest") ?? 0;
  fields.end();
  if (requestMs > 0 && backendRequestMs > requestMs) {
    report.malformed(fields.node, fields.at("backendRequest"), "expected at most the time of request");
  }
  return { requestMs, backendRequestMs };
}

/** Reads `retry`. */
export function parseRetry(rule: Fields, report: Report): RouteRetry | undefined {
  const fields = rule.fields("retry", report);
  if (fields === undefined) return undefined;
  atMost(fields, "codes", MOST_CODES, report);
  const codes = new Set<number>();
  for (const { node, path } of fields.list("codes") ?? []) {
    const code = node.kind === "scalar" ? node.value : undefined;
    if (typeof code === "number" && Number.isInteger(code) && code >= 400 && code <= 599) codes.add(code);
    else report.expected(node, path, "a status from 400 to 599");
  }
  const attempts = fields.integer("attempts", 0, MOST_ATTEMPTS) ?? DEFAULT_ATTEMPTS;
  const backoffMs = timerField(fields, "backoff") ?? DEFAULT_BACKOFF_MS;
  fields.end();
  return { codes: [...codes], attempts, backoffMs };
}

/**
 * Reads `sessionPersistence`.
 *
 * @param owner tells this rule from all others, for a name when none is given
 */
export function parsePersistence(rule: Fields, owner: string, report: Report): SessionPersistence | undefined {
  const fields = rule.fields("sessionPersistence", report);
  if (fields === undefined) return undefined;
  const type = fields.word("type", ["Cookie", "Header"]) ?? "Cookie";
  const isHeader = type === "Header";
  const isName = (text: string): boolean => isSessionName(text) && (!isHeader || routeFieldProblem(text) === undefined);
  const given = fields.string("sessionName", isHeader ? "a header that may be edited" : "a name of a cookie", isName);
  const absoluteTimeoutMs = durationField(fields, "absoluteTimeout") ?? 0;
  const idleTimeoutMs = durationField(fields, "idleTimeout") ?? 0;
  const cookie = fields.fields("cookieConfig", report);
  const permanent = cookie?.word("lifetimeType", ["Session", "Permanent"]) === "Permanent";
  cookie?.end();
  fields.end();
  if (cookie !== undefined && type !== "Cookie") {
    report.malformed(cookie.node, cookie.path, "belongs to sessions of type Cookie");
  }
  if (permanent && absoluteTimeoutMs === 0) {
    report.malformed(fields.node, fields.at("absoluteTimeout"), "expected how long a permanent cookie lives");
  }
  const name = given ?? `culvert-session-${hash("sha256", owner).slice(0, 8)}`;
  return {
    type: isHeader ? "header" : "cookie",
    name: isHeader ? name.toLowerCase() : name,
    absoluteTimeoutMs,
    idleTimeoutMs,
    permanent,
  };
}

function isSessionName(text: string): boolean {
  return isToken(text) && text.length <= MOST_NAME_CHARACTERS;
}
