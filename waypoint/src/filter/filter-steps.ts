// Pure. The filters of one level, a rule or one of its backends, compiled: what they do, sorted by when it is done.
import type {
  BackendRef,
  DirectAnswer,
  Fault,
  HttpRouteFilter,
  PathRewrite,
  Redirect,
} from "@culvert/shared/config/http-route.ts";
import { hasNoBody, type LocalAnswer } from "../local-answer.ts";
import { CorsRules } from "./cors.ts";
import { asBytes, fieldLine } from "./field-lines.ts";
import { editProblem, FieldEdit } from "./header-edit.ts";
import { canonicalRewrite, rewriteProblem } from "./path-rewrite.ts";

/** Copies of a share of the requests. */
export interface Mirror {
  readonly backend: BackendRef;
  /** 0 to 1. */
  readonly share: number;
}

/** See the head of the file. Header edits keep the order in which they are listed; of the rest, the last of a kind counts. */
export interface FilterSteps {
  readonly cors: CorsRules | undefined;
  readonly faults: readonly Fault[];
  readonly redirect: Redirect | undefined;
  readonly answer: LocalAnswer | undefined;
  readonly requestEdits: readonly FieldEdit[];
  readonly responseEdits: readonly FieldEdit[];
  /** What the request's host becomes. */
  readonly host: string | undefined;
  readonly path: PathRewrite | undefined;
  readonly mirrors: readonly Mirror[];
}

/** A level without filters. */
export const NO_STEPS: FilterSteps = {
  cors: undefined,
  faults: [],
  redirect: undefined,
  answer: undefined,
  requestEdits: [],
  responseEdits: [],
  host: undefined,
  path: undefined,
  mirrors: [],
};

/** Compiles filters that `filterProblem` has nothing against. */
export function compileFilters(filters: readonly HttpRouteFilter[]): FilterSteps {
  if (filters.length === 0) return NO_STEPS;
  const steps: { -readonly [K in keyof FilterSteps]: FilterSteps[K] } = { ...NO_STEPS };
  for (const filter of filters) {
    switch (filter.kind) {
      case "request-headers":
        steps.requestEdits = [...steps.requestEdits, new FieldEdit(filter.edit)];
        break;
      case "response-headers":
        steps.responseEdits = [...steps.responseEdits, new FieldEdit(filter.edit)];
        break;
      case "rewrite":
        steps.host = filter.host ?? steps.host;
        steps.path = filter.path === undefined ? steps.path : canonicalRewrite(filter.path);
        break;
      case "redirect":
        steps.redirect = { ...filter, path: filter.path === undefined ? undefined : canonicalRewrite(filter.path) };
        break;
      case "mirror":
        steps.mirrors = [...steps.mirrors, { backend: filter.backend, share: filter.numerator / filter.denominator }];
        break;
      case "cors":
        steps.cors = new CorsRules(filter);
        break;
      case "answer":
        steps.answer = directAnswer(filter.answer);
        break;
      case "fault":
        steps.faults = [...steps.faults, filter.fault];
        break;
    }
  }
  return steps;
}

/**
 * Why filters must not be served; `undefined` when they may. Whoever reads routes refuses the same with the place of the
 * error; here it is held once more, because one line end in a value would be a request of somebody else.
 *
 * @param prefix the rule's one match by prefix, if it has just that
 */
export function filterProblem(filters: readonly HttpRouteFilter[], prefix: string | undefined): string | undefined {
  for (const filter of filters) {
    const problem = problemOf(filter, prefix);
    if (problem !== undefined) return `filter ${filter.kind}: ${problem}`;
  }
  return undefined;
}

function problemOf(filter: HttpRouteFilter, prefix: string | undefined): string | undefined {
  switch (filter.kind) {
    case "request-headers":
    case "response-headers":
      return editProblem(filter.edit);
    case "rewrite":
    case "redirect":
      if (filter.host !== undefined && !HOST.test(filter.host)) return `expected a host name, found ${filter.host}`;
      return filter.path === undefined ? undefined : rewriteProblem(filter.path, prefix);
    case "mirror":
      return filter.denominator > 0 ? undefined : "expected a fraction with a denominator above 0";
    case "cors": {
      const texts = [...filter.allowMethods, ...filter.allowHeaders, ...filter.exposeHeaders];
      const wrong = texts.find((text) => !LISTED.test(text));
      return wrong === undefined ? undefined : `expected a name, found ${JSON.stringify(wrong.slice(0, 80))}`;
    }
    case "answer":
      return editProblem({ set: [], add: filter.answer.headers, remove: [] }) ?? statusProblem(filter.answer.status);
    case "fault":
      return filter.fault.abort === undefined ? undefined : statusProblem(filter.fault.abort.status);
    default:
      return undefined;
  }
}

const HOST = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i;
/** A name in a list of CORS, or `*`. */
const LISTED = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/;

function statusProblem(status: number): string | undefined {
  return Number.isInteger(status) && status >= 200 && status <= 599 ? undefined : `expected a status of 200 to 599`;
}

function directAnswer({ status, headers, body }: DirectAnswer): LocalAnswer {
  const fields = headers.map(({ name, value }) => fieldLine(name, value)).join("");
  const text = hasNoBody(status) ? "" : asBytes(body);
  const isTyped = headers.some(({ name }) => name.toLowerCase() === "content-type");
  const type = text === "" || isTyped ? "" : "content-type: text/plain; charset=utf-8\r\n";
  return { status, fields: fields + type, body: text, failure: undefined };
}
