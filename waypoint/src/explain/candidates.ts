// Pure. The matches that were looked at, or would have been, each with why it was not taken.
import type { RoutedRequest, RoutedRule } from "../route/entry.ts";
import type { Judged } from "../route/judge.ts";
import type { RouteGroup } from "../route/route-group.ts";
import { describeMatch } from "./describe-rule.ts";

/** One match, for a person or a program. */
export interface Candidate {
  readonly route: string;
  readonly rule: string;
  readonly host: string | undefined;
  readonly match: string;
  readonly taken: boolean;
  /** Empty for the one that was taken. */
  readonly why: readonly string[];
}

/** Matches in their order, and how many more there are. */
export interface Candidates {
  readonly shown: readonly Candidate[];
  readonly more: number;
}

/** As many as a person reads through. */
const MOST_SHOWN = 50;

/** @param taken the rule that serves the request, if one does */
export function candidatesOf(group: RouteGroup, request: RoutedRequest, taken: RoutedRule | undefined): Candidates {
  const judged = group.judge(request);
  // Of thousands those are of interest that were about to fit.
  const near = judged.length <= MOST_SHOWN ? judged : judged.filter((each) => each.near);
  const shown = near.slice(0, MOST_SHOWN).map((each) => candidateOf(each, taken));
  return { shown, more: judged.length - shown.length };
}

function candidateOf({ routed, host, why }: Judged, taken: RoutedRule | undefined): Candidate {
  const isTaken = routed === taken && why.length === 0;
  return {
    route: routed.route.uid,
    rule: routed.name,
    host: host === "" ? undefined : host,
    match: describeMatch(routed.match),
    taken: isTaken,
    why: isTaken || why.length > 0 ? why : ["holds, and comes later in the order"],
  };
}
