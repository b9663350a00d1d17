// Pure. How one rule keeps the requests of a session at one endpoint (GEP-1619): what its clients send, and what they are given.
import type { HttpRouteMatch, SessionPersistence } from "@culvert/shared/config/http-route.ts";
import { routeFieldProblem } from "@culvert/shared/config/route-fields.ts";
import type { Session, SessionKey } from "./session-key.ts";

/** A session that a request is part of. */
export interface KnownSession {
  readonly session: Session;
  /** The key that it was sealed with. */
  readonly key: SessionKey;
}

/** Of one name; a client has one, or one that is out of date beside it. */
const MOST_VALUES = 4;

const COOKIE_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/;
/** What may stand in the attribute of a cookie without being taken for the next one. */
const COOKIE_PATH = /^\/[\x21-\x3a\x3c-\x7e]*$/;

/** See the head of the file. */
export class SessionRules {
  /** The field by which clients come back, lower case. */
  readonly field: string;
  readonly #persistence: SessionPersistence;
  readonly #scope: string;
  readonly #cookiePath: string;

  /**
   * @param scope the rule: sessions of other rules mean nothing to it
   * @param match the one that chose the rule; a cookie is sent back below its path
   */
  constructor(persistence: SessionPersistence, scope: string, match: HttpRouteMatch) {
    this.field = persistence.type === "cookie" ? "cookie" : persistence.name.toLowerCase();
    this.#persistence = persistence;
    this.#scope = scope;
    this.#cookiePath = cookiePath(match);
  }

  /**
   * The session that a request is part of, unless it has come to its end.
   *
   * @param lines the values of the field `field`
   * @param now wall time, milliseconds
   */
  find(lines: readonly string[], keys: readonly SessionKey[], now: number): KnownSession | undefined {
    const { type, name } = this.#persistence;
    const values = type === "cookie" ? cookieValues(lines, name) : lines.slice(0, MOST_VALUES);
    for (const value of values) {
      for (const key of keys) {
        const session = key.open(value, this.#scope);
        if (session !== undefined && this.#lives(session, now)) return { session, key };
      }
    }
    return undefined;
  }

  /**
   * The line that goes with a response of `endpoint`; empty where the client has what it needs: it comes by a session of
   * that endpoint, which does not end by being idle.
   *
   * @param endpoint see `SessionKey.tag`
   * @param key the one that new sessions are sealed with
   */
  answer(known: KnownSession | undefined, endpoint: string, key: SessionKey, now: number): string {
    const { idleTimeoutMs } = this.#persistence;
    const stays = known !== undefined && known.session.tag === known.key.tag(endpoint);
    // A session of another key is sealed anew, so that the key can go one day.
    if (stays && idleTimeoutMs === 0 && known.key === key) return "";
    const createdAt = stays ? known.session.createdAt : now;
    const value = key.seal({ tag: key.tag(endpoint), createdAt, usedAt: now }, this.#scope);
    return this.#line(value, createdAt, now);
  }

  #lives({ createdAt, usedAt }: Session, now: number): boolean {
    const { absoluteTimeoutMs, idleTimeoutMs } = this.#persistence;
    if (absoluteTimeoutMs > 0 && now - createdAt >= absoluteTimeoutMs) return false;
    return idleTimeoutMs === 0 || now - usedAt < idleTimeoutMs;
  }

  #line(value: string, createdAt: number, now: number): string {
    const { type, name, permanent, absoluteTimeoutMs } = this.#persistence;
    if (type === "header") return `${this.field}: ${value}\r\n`;
    const left = Math.ceil((createdAt + absoluteTimeoutMs - now) / 1_000);
    const age = permanent && absoluteTimeoutMs > 0 ? `; Max-Age=${left}` : "";
    // Not `Secure`: what comes to a waypoint may have come to the mesh in plaintext, and the cookie would be lost.
    return `set-cookie: ${name}=${value}; Path=${this.#cookiePath}${age}; HttpOnly; SameSite=Strict\r\n`;
  }
}

/** Why a rule cannot keep sessions so; `undefined` when it can. */
export function sessionProblem({ type, name, permanent, absoluteTimeoutMs }: SessionPersistence): string | undefined {
  if (type === "header") return routeFieldProblem(name);
  if (!COOKIE_NAME.test(name)) return `expected the name of a cookie, found ${JSON.stringify(name.slice(0, 80))}`;
  return permanent && absoluteTimeoutMs === 0 ? "a Permanent cookie needs an absoluteTimeout" : undefined;
}

/** The values of a cookie in the lines of `Cookie` (RFC 6265 section 4.2.1); HTTP/2 may send a line for each. */
function cookieValues(lines: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (const line of lines) {
    for (const pair of line.split(";")) {
      const equals = pair.indexOf("=");
      if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
      values.push(unquoted(pair.slice(equals + 1).trim()));
      if (values.length === MOST_VALUES) return values;
    }
  }
  return values;
}

function unquoted(value: string): string {
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
}

/** The path below which the match holds; of a regular expression nobody can say. */
function cookiePath({ path }: HttpRouteMatch): string {
  const prefix = path.kind === "regex" ? "/" : path.value;
  const bare = prefix.length > 1 && prefix.endsWith("/") ? prefix.slice(0, -1) : prefix;
  return COOKIE_PATH.test(bare) ? bare : "/";
}
