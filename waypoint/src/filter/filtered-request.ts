// Pure. One request under the plan of its rule: the answer that the rule gives itself, what changes on the way to the backend
// and back. Matching has looked at the request as it came; nothing here sends it to another rule.
import type { LocalAnswer } from "../local-answer.ts";
import type { RequestDraft } from "../http/message.ts";
import type { CrossOrigin } from "./cors.ts";
import { abortAnswer, drawFault } from "./fault.ts";
import type { FilterSteps, Mirror } from "./filter-steps.ts";
import { rewritePath } from "./path-rewrite.ts";
import { redirectLocation } from "./redirect.ts";
import type { RulePlan } from "./rule-plan.ts";

/** What filters look at. */
export interface FilterFacts extends CrossOrigin {
  /** Canonical, without port. */
  readonly hostname: string;
  /** The Service port that the client used. */
  readonly port: number;
  /** Canonical, without query. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  readonly isGrpc: boolean;
}

/** See the head of the file. First the rule's filters apply, then those of the backend that was chosen. */
export class FilteredRequest {
  readonly facts: FilterFacts;
  /** What faults add before anything else is done; milliseconds. */
  delayMs = 0;
  readonly #plan: RulePlan;
  readonly #levels: FilterSteps[] = [];
  #isPreflight = false;

  constructor(plan: RulePlan, facts: FilterFacts) {
    this.facts = facts;
    this.#plan = plan;
  }

  /**
   * Applies the filters of one more level.
   *
   * @param random gives numbers of at least 0 and less than 1
   * @returns the answer, where these filters give one
   */
  enter(steps: FilterSteps, random: () => number): LocalAnswer | undefined {
    this.#levels.push(steps);
    const { cors, faults, redirect, answer } = steps;
    const preflight = cors?.preflight(this.facts);
    if (preflight !== undefined) {
      this.#isPreflight = true;
      // 200 and not 204, which the conformance tests of Gateway API do not take everywhere.
      return { status: 200, fields: preflight, body: "", failure: undefined };
    }
    if (faults.length > 0) {
      const { delayMs, abort } = drawFault(faults, random);
      this.delayMs += delayMs;
      if (abort !== undefined) return abortAnswer(abort, this.facts.isGrpc, this.#plan.where);
    }
    if (redirect !== undefined) {
      const { hostname, port, path, query } = this.facts;
      const asked = { scheme: "http", hostname, port, path, query, prefix: this.#plan.prefix } as const;
      const fields = `location: ${redirectLocation(asked, redirect)}\r\n`;
      return { status: redirect.status, fields, body: "", failure: undefined };
    }
    return answer;
  }

  /** Changes the request that goes to the backend. */
  request(draft: RequestDraft): void {
    for (const { requestEdits, host, path } of this.#levels) {
      for (const edit of requestEdits) draft.fields = edit.apply(draft.fields);
      if (host !== undefined) draft.authority = host;
      // A backend's rewriting takes the place of the rule's: both speak of the path that was asked for.
      if (path !== undefined) draft.path = rewritePath(this.facts.path, this.#plan.prefix, path) + this.facts.query;
    }
  }

  /**
   * The field lines of a response, by the filters in reverse: the backend's, then the rule's. An answer of the rule itself is
   * one as well; that to a preflight request is whole.
   */
  response(fields: string): string {
    if (this.#isPreflight) return fields;
    let changed = fields;
    for (const { responseEdits, cors } of this.#levels.toReversed()) {
      for (const edit of responseEdits) changed = edit.apply(changed);
      if (cors !== undefined) changed = cors.response(changed, this.facts.origin);
    }
    return changed;
  }

  /** The copies that are to be made of this request. */
  mirrors(random: () => number): Mirror[] {
    return this.#levels.flatMap(({ mirrors }) => mirrors.filter(({ share }) => random() < share));
  }
}
