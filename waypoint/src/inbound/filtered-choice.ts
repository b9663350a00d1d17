// Pure. What a rule with filters or sessions chooses for one request: an answer of its own, or a backend with what changes on
// the way there and back.
import type { HttpRouteBackend, HttpRouteRule } from "@culvert/shared/config/http-route.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Endpoint, RouteEdits } from "../exchange-services.ts";
import { FilteredRequest, type FilterFacts } from "../filter/filtered-request.ts";
import type { PlannedRule, RulePlan } from "../filter/rule-plan.ts";
import type { SessionKeys } from "../filter/session-key.ts";
import type { KnownSession } from "../filter/session-rules.ts";
import type { RequestDraft } from "../http/message.ts";
import { failureAnswer, type LocalAnswer } from "../local-answer.ts";
import type { MeshView } from "../mesh/view.ts";
import { chooseBackend } from "../route/backend.ts";
import type { EndpointGroup } from "../upstream/balance.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";
import { choiceOf, NOWHERE, type Choice } from "./choice.ts";
import { sessionEndpoint, sessionName } from "./session-endpoint.ts";

/** What is known of a request that a rule with a plan serves. */
export interface FilteredCall {
  readonly facts: FilterFacts;
  /** The values of the field `RulePlan.sessions.field`. */
  readonly sessionLines: readonly string[];
}

/** What choosing needs beside the request. */
export interface ChoiceContext {
  readonly view: MeshView;
  readonly keys: SessionKeys;
  /** Wall time, milliseconds. */
  readonly now: () => number;
  /** At least 0, less than 1. */
  readonly random: () => number;
}

/** The choice of `routed`. A backend that cannot be served is an answer as well: it passes the rule's filters. */
export function filteredChoice(
  plan: RulePlan,
  routed: PlannedRule,
  call: FilteredCall,
  context: ChoiceContext,
): Choice {
  const { rule } = routed;
  const { random, view, keys, now } = context;
  const request = new FilteredRequest(plan, call.facts);
  const own = request.enter(plan.steps, random);
  if (own !== undefined) return answered(rule, request, own);
  const known = plan.sessions?.find(call.sessionLines, keys, now());
  const kept = known === undefined ? undefined : keptBy(known, rule, view);
  const backend = kept?.backend ?? chooseBackend(routed, random());
  if (isFailure(backend)) return answered(rule, request, failureAnswer(backend));
  const ofBackend = request.enter(plan.stepsOf(backend), random);
  if (ofBackend !== undefined) return answered(rule, request, ofBackend);
  const group = view.backend(backend);
  if (isFailure(group)) return answered(rule, request, failureAnswer(group));
  const mirrors = request
    .mirrors(random)
    .map((mirror) => view.backend(mirror.backend))
    .filter(isGroup);
  return choiceOf(group, rule, {
    delayMs: request.delayMs,
    answer: undefined,
    edits: new ChoiceEdits(request, plan, known, context),
    pinned: kept?.endpoint,
    mirrors,
  });
}

function answered(rule: HttpRouteRule, request: FilteredRequest, answer: LocalAnswer): Choice {
  const { delayMs } = request;
  return choiceOf(NOWHERE, rule, { delayMs, answer, edits: new AnswerEdits(request), pinned: undefined, mirrors: [] });
}

interface Kept {
  readonly backend: HttpRouteBackend;
  readonly endpoint: UpstreamEndpoint;
}

/** Where a session is kept. Weights have no say: a backend of weight 0 keeps the sessions that it has. */
function keptBy(known: KnownSession, rule: HttpRouteRule, view: MeshView): Kept | undefined {
  for (const backend of rule.backends) {
    if (backend.invalid !== undefined) continue;
    const group = view.backend(backend);
    const endpoint = isFailure(group) ? undefined : sessionEndpoint(group, known);
    if (endpoint !== undefined) return { backend, endpoint };
  }
  return undefined;
}

function isGroup(group: EndpointGroup | Failure): group is EndpointGroup {
  return !isFailure(group);
}

/** What changes of an answer that the rule gives itself. */
class AnswerEdits implements RouteEdits {
  readonly #request: FilteredRequest;

  constructor(request: FilteredRequest) {
    this.#request = request;
  }

  request(): void {
    // Nobody gets the request.
  }

  response(_status: number, fields: string): string {
    return this.#request.response(fields);
  }
}

/** What changes on the way to a backend and back. */
class ChoiceEdits implements RouteEdits {
  readonly #request: FilteredRequest;
  readonly #plan: RulePlan;
  readonly #known: KnownSession | undefined;
  readonly #context: ChoiceContext;

  constructor(request: FilteredRequest, plan: RulePlan, known: KnownSession | undefined, context: ChoiceContext) {
    this.#request = request;
    this.#plan = plan;
    this.#known = known;
    this.#context = context;
  }

  request(draft: RequestDraft): void {
    this.#request.request(draft);
  }

  response(_status: number, fields: string, endpoint: Endpoint | undefined): string {
    const changed = this.#request.response(fields);
    const { sessions } = this.#plan;
    if (sessions === undefined || endpoint === undefined) return changed;
    const { keys, now } = this.#context;
    return changed + sessions.answer(this.#known, sessionName(endpoint as UpstreamEndpoint), keys[0], now());
  }
}
