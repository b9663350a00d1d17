// Pure. What the filters of a rule make of a request: the answer that they give themselves, or what the backend would see.
import type { HttpRouteBackend } from "@culvert/shared/config/http-route.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { CanonicalTarget } from "../exchange-services.ts";
import { FilteredRequest } from "../filter/filtered-request.ts";
import { rulePlan } from "../filter/rule-plan.ts";
import type { LocalAnswer } from "../local-answer.ts";
import type { RoutedRule } from "../route/entry.ts";

/** The request as filters see it. */
export interface FilteredQuestion {
  readonly target: CanonicalTarget;
  readonly hostname: string;
  readonly port: number;
  readonly headers: ReadonlyMap<string, string>;
}

/** What becomes of the request. */
export interface Filtered {
  readonly answer: LocalAnswer | undefined;
  /** `GET /path host example.com`; `undefined` when nothing of it is changed. */
  readonly sentAs: string | undefined;
}

/** Faults for a part of the requests do not happen to this one. */
const UNLUCKY = 1 - Number.EPSILON;

/** @param backend the one that is chosen, whose filters apply after those of the rule */
export function filteredOf(
  routed: RoutedRule,
  { target, hostname, port, headers }: FilteredQuestion,
  backend: HttpRouteBackend | undefined,
): Filtered | Failure {
  const plan = rulePlan(routed);
  if (plan === undefined) return { answer: undefined, sentAs: undefined };
  if (isFailure(plan)) return plan;
  const { method, path, query, host } = target;
  const request = new FilteredRequest(plan, {
    method,
    path,
    query,
    hostname,
    port,
    isGrpc: headers.get("content-type")?.toLowerCase().startsWith("application/grpc") === true,
    origin: headers.get("origin"),
    requestMethod: headers.get("access-control-request-method"),
    requestHeaders: headers.get("access-control-request-headers"),
  });
  let answer = request.enter(plan.steps, () => UNLUCKY);
  if (backend !== undefined) answer ??= request.enter(plan.stepsOf(backend), () => UNLUCKY);
  const draft = { method, path: path + query, authority: host, fields: "" };
  request.request(draft);
  const isChanged = draft.path !== path + query || draft.authority !== host;
  return { answer, sentAs: isChanged ? `${draft.method} ${draft.path} host ${draft.authority}` : undefined };
}
