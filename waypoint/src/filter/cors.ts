// Pure. Cross-origin requests of browsers (the Fetch standard, section 3.2) as Gateway API's CORS filter rules them (GEP-1767).
import type { Cors } from "@culvert/shared/config/http-route.ts";
import { fieldNames, FieldNames, withoutFields } from "./field-lines.ts";

/** What a request says of its origin; `undefined` where the field is missing. */
export interface CrossOrigin {
  readonly method: string;
  readonly origin: string | undefined;
  readonly requestMethod: string | undefined;
  /** All lines as one list. */
  readonly requestHeaders: string | undefined;
}

const ANY = "*";
/** An application behind the filter does not answer for it: two answers would be none to a browser. */
const OWN_FIELDS = new FieldNames([
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-expose-headers",
  "access-control-max-age",
]);
const PREFLIGHT_VARY = "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n";
const VARY = "vary: Origin\r\n";
/** Longer than any origin: a host name, a scheme and a port. */
const LONGEST_ORIGIN = 512;
/** What a request may list is repeated in the answer, so it must be what it should be: a list of tokens. */
const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
const TOKENS = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*$/;
const LONGEST_LIST = 4096;
/** What a `*` stands for: labels, any number of them. */
const HOST = /^[a-z0-9-]+(?:\.[a-z0-9-]+)*$/;

/** The rules of one filter, compiled. */
export class CorsRules {
  readonly #exact: ReadonlySet<string>;
  readonly #anyOrigin: boolean;
  /** `https://*.bar.com` as `https://` and `.bar.com`. */
  readonly #wildcards: readonly { readonly before: string; readonly after: string }[];
  readonly #anyMethod: boolean;
  readonly #anyHeader: boolean;
  readonly #methods: string;
  readonly #headers: string;
  readonly #maxAge: string;
  /** Of each answer to an origin that is allowed. */
  readonly #always: string;
  /** All fields of a response are named to the browser: with credentials `*` would mean none of them. */
  readonly #namesAll: boolean;

  constructor(cors: Cors) {
    const origins = cors.allowOrigins.map((origin) => origin.toLowerCase());
    this.#exact = new Set(origins.filter((origin) => !origin.includes(ANY)));
    this.#anyOrigin = origins.includes(ANY);
    this.#wildcards = origins
      .filter((origin) => origin !== ANY && origin.includes(ANY))
      .map((origin) => {
        const star = origin.indexOf(ANY);
        return { before: origin.slice(0, star), after: origin.slice(star + 1) };
      });
    this.#anyMethod = cors.allowMethods.includes(ANY);
    this.#anyHeader = cors.allowHeaders.includes(ANY);
    this.#methods = line("access-control-allow-methods", cors.allowMethods);
    this.#headers = line("access-control-allow-headers", cors.allowHeaders);
    this.#maxAge = `access-control-max-age: ${cors.maxAgeSeconds}\r\n`;
    const credentials = cors.allowCredentials ? "access-control-allow-credentials: true\r\n" : "";
    this.#namesAll = cors.allowCredentials && cors.exposeHeaders.includes(ANY);
    this.#always = credentials + (this.#namesAll ? "" : line("access-control-expose-headers", cors.exposeHeaders));
  }

  /** Whether scripts of this origin may read what is answered. Schemes and hosts know no case. */
  allows(origin: string): boolean {
    if (origin.length > LONGEST_ORIGIN) return false;
    const lower = origin.toLowerCase();
    return (
      this.#exact.has(lower) ||
      this.#anyOrigin ||
      this.#wildcards.some(
        ({ before, after }) =>
          lower.startsWith(before) &&
          lower.endsWith(after) &&
          HOST.test(lower.slice(before.length, -after.length || undefined)),
      )
    );
  }

  /**
   * The field lines of the answer to a preflight request, or `undefined` when the request is none. One whose origin is not
   * allowed is answered too, without any permission: the browser then refuses by itself.
   */
  preflight(request: CrossOrigin): string | undefined {
    const { origin, requestMethod, requestHeaders } = request;
    if (request.method !== "OPTIONS" || origin === undefined || requestMethod === undefined) return undefined;
    if (!this.allows(origin)) return PREFLIGHT_VARY;
    // A list `*` would mean nothing to requests with credentials, so what was asked for is named.
    const methods = this.#anyMethod ? allowed("access-control-allow-methods", requestMethod, TOKEN) : this.#methods;
    const headers = this.#anyHeader ? allowed("access-control-allow-headers", requestHeaders, TOKENS) : this.#headers;
    return `access-control-allow-origin: ${origin}\r\n${methods}${headers}${this.#always}${this.#maxAge}${PREFLIGHT_VARY}`;
  }

  /**
   * The field lines of a response with what this filter says in place of what the application said. The answer depends on
   * the origin even where it grants nothing, so caches are told.
   *
   * @param origin the request's; `undefined`: it has none
   */
  response(fields: string, origin: string | undefined): string {
    const others = withoutFields(fields, OWN_FIELDS);
    if (origin === undefined || !this.allows(origin)) return others + VARY;
    const exposed = this.#namesAll ? line("access-control-expose-headers", fieldNames(others)) : "";
    return `${others}access-control-allow-origin: ${origin}\r\n${this.#always}${exposed}${VARY}`;
  }
}

function line(name: string, values: readonly string[]): string {
  return values.length === 0 ? "" : `${name}: ${values.join(", ")}\r\n`;
}

function allowed(name: string, asked: string | undefined, form: RegExp): string {
  return asked !== undefined && asked.length <= LONGEST_LIST && form.test(asked) ? `${name}: ${asked}\r\n` : "";
}
