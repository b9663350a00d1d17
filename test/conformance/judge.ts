// Pure. Holds what came of requests against what a case demands, as a list of differences in words; an empty one is a pass.
import type { Resource } from "../support/resources.ts";
import type { Ask, Case, Headers, Mirror, Share } from "./case.ts";
import type { Answer } from "./job.ts";
import { PODS, type PodName } from "./pods.ts";
import { joined, readSaw, type Saw } from "./saw.ts";

/** How far the part of a pod may be from what its weight says, of all requests. */
const SHARE_TOLERANCE = 0.05;
/** How many standard deviations the number of copies may be from what its probability says: beyond it is chance once in 15,000 times. */
const MIRROR_DEVIATIONS = 4;

/** The parts of a request's URL. */
export interface Parts {
  readonly host: string;
  readonly port: number;
  readonly authority: string;
  readonly target: string;
}

/** Splits `http://echo:8080/path`; the port is that of the scheme where none stands. */
export function partsOf(url: string): Parts {
  const [, authority = "", target = ""] = /^[a-z]+:\/\/([^/]*)(.*)$/.exec(url) ?? [];
  const [, host = "", port = ""] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(authority) ?? [];
  return { host: host.replace(/[[\]]/g, ""), port: Number(port || 80), authority, target: target || "/" };
}

/** What is wrong with one answer. `url` is that of the request with its addresses put in. */
export function judge(ask: Ask, url: string, answer: Answer): string[] {
  if (answer.error !== undefined) return [`no answer: ${answer.error}`];
  const wrong: string[] = [];
  const differ = (what: string, got: unknown, wanted: unknown): void => {
    if (got !== wanted) wrong.push(`${what} is ${JSON.stringify(got)} in place of ${JSON.stringify(wanted)}`);
  };
  if (!ask.status.includes(answer.status)) differ("status", answer.status, ask.status.join(" or "));
  if (ask.grpc !== undefined) differ("grpc-status", answer.grpc, ask.grpc);
  if (ask.location !== undefined) differ("location", joined(answer.fields, "location"), ask.location);
  wrong.push(...headersWrong("answered", ask.answers, answer.fields));
  if (ask.text !== undefined && !answer.text.includes(ask.text)) differ("body", answer.text, ask.text);
  if (wrong.length > 0) return wrong;
  const saw = readSaw(answer.text);
  if (ask.pods.length === 0) {
    if (saw !== undefined) wrong.push(`${saw.pod} answered, though nobody should`);
    return wrong;
  }
  return saw === undefined ? [`no pod answered: ${answer.text.slice(0, 200)}`] : sawWrong(ask, url, saw);
}

function sawWrong(ask: Ask, url: string, saw: Saw): string[] {
  const { target, authority } = partsOf(url);
  const wrong = headersWrong("backend saw", ask.saw, saw.fields);
  const differ = (what: string, got: string | undefined, wanted: string): void => {
    if (got !== undefined && got !== wanted) wrong.push(`${what} that the backend saw is ${got} in place of ${wanted}`);
  };
  if (!ask.pods.some((pod) => isOf(saw, pod))) wrong.push(`${saw.pod} answered in place of ${ask.pods.join(" or ")}`);
  if (ask.url.startsWith("tcp:")) return wrong;
  differ("method", saw.method, ask.method);
  differ("path", saw.path, ask.path ?? target);
  differ("host", saw.host, ask.sawHost ?? ask.host ?? authority);
  if (ask.sawHttp !== undefined) differ("HTTP version", saw.http, ask.sawHttp);
  return wrong;
}

function isOf({ pod }: Saw, name: PodName): boolean {
  return pod === PODS[name].name;
}

function headersWrong(who: string, wanted: Headers, fields: Saw["fields"]): string[] {
  return wanted.flatMap(([name, values]) => {
    const got = joined(fields, name)?.replaceAll(", ", ",");
    const words = values.map((value) => value ?? "(absent)").join(" or ");
    return values.includes(got) ? [] : [`${who} ${name}: ${got ?? "(absent)"} in place of ${words}`];
  });
}

/** What is wrong with many answers to the same request: with one of them, or with how they are spread. */
export function judgeShare(
  share: Share,
  url: string,
  answers: readonly Answer[],
): { readonly answered: readonly string[]; readonly parts: readonly string[] } {
  const { parts, count, sawOfPod } = share;
  const counts = new Map<PodName, number>();
  const wrong = new Set<string>();
  const pods = Object.keys(parts) as PodName[];
  for (const answer of answers) {
    const saw = readSaw(answer.text);
    const pod = saw === undefined ? undefined : pods.find((name) => isOf(saw, name));
    const own: Headers = sawOfPod === undefined || pod === undefined ? [] : [[sawOfPod, [pod]]];
    for (const problem of judge({ ...share.ask, pods, saw: [...share.ask.saw, ...own] }, url, answer))
      wrong.add(problem);
    if (pod !== undefined) counts.set(pod, (counts.get(pod) ?? 0) + 1);
  }
  const far: string[] = [];
  for (const pod of pods) {
    const part = parts[pod] ?? 0;
    const got = (counts.get(pod) ?? 0) / count;
    // No weight is none at all, not nearly none.
    const isFar = part === 0 ? got > 0 : Math.abs(got - part) > SHARE_TOLERANCE;
    if (isFar) far.push(`${pod} has ${got} of ${count} requests in place of ${part}`);
  }
  return { answered: [...wrong], parts: far };
}

/** What is wrong with the number of copies that a pod has had. */
export function judgeCopies({ count, copies }: Mirror, pod: PodName, seen: number): string[] {
  const part = copies[pod] ?? 0;
  const expected = part * count;
  const bound = MIRROR_DEVIATIONS * Math.sqrt(expected * (1 - part));
  return Math.abs(seen - expected) <= bound ? [] : [`${pod} has ${seen} copies of ${count} requests, not ${expected}`];
}

/** Where the dump of the configuration has the routes of each kind. */
const SECTIONS: Readonly<Record<string, string>> = {
  HTTPRoute: "routes",
  GRPCRoute: "grpcRoutes",
  TCPRoute: "tcpRoutes",
  TLSRoute: "tlsRoutes",
};

interface DumpedRoute {
  readonly status: readonly {
    readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string }[];
  }[];
}

/** What is wrong with what is told of the routes of a case: accepted, with all that they refer to, unless the case says otherwise. */
export function judgeStatuses({ resources, statuses }: Case, dump: unknown): string[] {
  const sections = dump as Readonly<Record<string, Readonly<Record<string, DumpedRoute>>>>;
  return resources.flatMap((resource) => {
    const section = SECTIONS[resource.kind];
    if (section === undefined) return [];
    const uid = `${resource.metadata.namespace ?? "default"}/${resource.metadata.name}`;
    const told = sections[section]?.[uid]?.status ?? [];
    const wanted = statuses.find(({ route }) => route === `${resource.kind} ${uid}`);
    const parents = parentsOf(resource);
    if (told.length !== parents) return [`${uid} has the status of ${told.length} parents in place of ${parents}`];
    return told.flatMap(({ conditions }) =>
      (
        [
          ["Accepted", wanted?.accepted],
          ["ResolvedRefs", wanted?.resolvedRefs],
        ] as const
      ).flatMap(([type, reason = type]) => {
        const condition = conditions.find((each) => each.type === type);
        const got = `${condition?.status ?? "absent"} ${condition?.reason ?? ""}`.trim();
        const demanded = `${reason === type ? "True" : "False"} ${reason}`;
        return got === demanded ? [] : [`${uid} is told ${type} ${got} in place of ${demanded}`];
      }),
    );
  });
}

function parentsOf({ spec }: Resource): number {
  return (spec as { readonly parentRefs?: readonly unknown[] }).parentRefs?.length ?? 0;
}
