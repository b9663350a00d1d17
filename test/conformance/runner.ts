// Machine. Runs cases one after another in one world, and tells of each what is wrong.
import { randomUUID } from "node:crypto";
import type { Needs } from "../support/needs.ts";
import { until } from "../support/until.ts";
import { readWorld, type Case, type Mirror, type Share } from "./case.ts";
import { judge, judgeCopies, judgeShare, judgeStatuses, partsOf } from "./judge.ts";
import type { ConformanceLab, EchoKind } from "./lab.ts";
import type { PodName } from "./pods.ts";

/** How often many requests are made before their parts count as wrong. */
const SHARE_TRIES = 4;

/** How long a copy may take longer than the answer to what it is a copy of. */
const COPIES_DEADLINE_MS = 3_000;

/** What came of a case. */
export interface Outcome {
  readonly name: string;
  /** Differences in words; none is a pass. */
  readonly problems: readonly string[];
}

/** Runs one case. The world keeps its resources until the next. */
export async function runCase(lab: ConformanceLab, one: Case): Promise<Outcome> {
  const { requests, shares, mirrors, name } = one;
  const problems: string[] = [];
  const tell = (what: string, found: readonly string[]): void => {
    problems.push(...found.map((problem) => `${what}: ${problem}`));
  };
  try {
    await lab.put([...(one.suite === "gateway" ? readWorld("gateway-world") : []), ...one.resources]);
    tell("status", judgeStatuses(one, await lab.configDump()));
    const each = requests.map(async (ask) => {
      const url = lab.urlOf(ask);
      const [answer] = await lab.ask(ask, 1, url);
      if (answer !== undefined) tell(`${ask.method} ${url}`, judge(ask, url, answer));
      if (Object.keys(ask.log).length > 0) await lab.waypoint.access({ path: partsOf(url).target, ...ask.log });
    });
    await Promise.all(each);
    for (const share of shares) {
      const url = lab.urlOf(share.ask);
      tell(`${share.count} × ${url}`, await runShare(lab, share, url));
    }
    for (const mirror of mirrors) tell(`${mirror.count} × ${mirror.ask.url}`, await runMirror(lab, mirror));
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
  }
  return { name, problems };
}

/**
 * Twenty requests more or less of 500 are chance more often than once in 50 times: there are some tries, as in the upstream suite. What
 * is wrong with an answer is wrong at once.
 */
async function runShare(lab: ConformanceLab, share: Share, url: string): Promise<string[]> {
  for (let left = SHARE_TRIES; ; left--) {
    const answers = await lab.ask(share.ask, share.count, url);
    const { answered, parts } = judgeShare(share, url, answers);
    if (answered.length > 0 || parts.length === 0 || left === 1) return [...answered, ...parts];
  }
}

/** Copies are found by an id in the query. The last of them may still be on its way when the answers are there. */
async function runMirror(lab: ConformanceLab, mirror: Mirror): Promise<string[]> {
  const id = randomUUID();
  const plain = lab.urlOf(mirror.ask);
  const url = `${plain}${plain.includes("?") ? "&" : "?"}id=${id}`;
  const answers = await lab.ask(mirror.ask, mirror.count, url);
  const wrong = new Set(answers.flatMap((answer) => judge(mirror.ask, url, answer)));
  for (const pod of Object.keys(mirror.copies) as PodName[]) {
    let problems: string[] = [];
    await until(
      `the copies to ${pod}`,
      () => {
        problems = judgeCopies(mirror, pod, lab.told(pod, id));
        return problems.length === 0;
      },
      COPIES_DEADLINE_MS,
    ).catch(() => undefined);
    for (const problem of problems) wrong.add(problem);
  }
  return [...wrong];
}

/** What a run needs of the machine. */
export function conformanceNeeds(kind: EchoKind): Needs {
  const own = ["ip", "nft", "curl", "setpriv", "unshare"];
  return { root: true, commands: kind === "own" ? own : [...own, "istio-echo-server"] };
}

/** Whether a case can be run with an echo app. */
export function fitsEcho({ ownEchoOnly }: Case, kind: EchoKind): boolean {
  return kind === "own" || !ownEchoOnly;
}
