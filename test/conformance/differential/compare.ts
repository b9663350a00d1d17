// Pure. What became of an odd request, in words that say how it differs from what was sent, so that proxies can be compared by them.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { normalizePath } from "@culvert/waypoint/canonical/path.ts";
import type { OddRequest } from "./odd-requests.ts";
import type { ProxyName } from "./proxies.ts";
import type { Recorded } from "./recorder.ts";

/** What is told of a request, by its aspects. */
export type Fate = Readonly<Record<string, string>>;

/** Fields that concern one connection. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "proxy-authorization",
  "expect",
]);
/** What some proxies take for fields of an odd request, though it was none. */
const MADE_OF_ODDITIES: ReadonlySet<string> = new Set(["x-hidden", "x-none"]);
const FRAMING: ReadonlySet<string> = new Set(["content-length", "transfer-encoding"]);

const byText = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);

/** What became of one. */
export function fateOf(request: OddRequest, heard: string, recorded: readonly Recorded[]): Fate {
  const [first] = recorded;
  const answered = heard.trim();
  const good = answered.split(" ").filter((status) => status === "200").length;
  const requests = recorded.length === 1 ? "1 request" : `${recorded.length} requests`;
  // What an application has seen is told where the answers do not say it.
  const fate: Record<string, string> = { answer: good === recorded.length ? answered : `${answered}, ${requests}` };
  if (first === undefined) return fate;
  const { draft } = request;
  const [method = "", target = "", version = ""] = first.line.split(" ");
  fate["method"] = method === draft.method ? "as sent" : method;
  fate["target"] = targetFate(draft.target, target);
  fate["version"] = version;
  fate["host"] = hostFate(request, first);
  fate["fields"] = fieldsFate(request, first);
  fate["hop-by-hop"] = hopFate(first);
  fate["body"] = first.body === draft.body ? "as sent" : first.body === "" ? "none" : "another";
  fate["framing"] = framingFate(first);
  fate["trailers"] = first.trailers === "" ? "none" : first.trailers.replaceAll("\r\n", " ").trim();
  return fate;
}

function targetFate(sent: string, got: string): string {
  if (got === sent) return "as sent";
  const [path = "", ...query] = sent.split("?");
  const canonical = normalizePath(path);
  const rest = query.length === 0 ? "" : `?${query.join("?")}`;
  return !isFailure(canonical) && got === `${canonical}${rest}` ? "canonical" : got;
}

function linesOf({ draft }: OddRequest): (readonly [name: string, value: string])[] {
  return draft.lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()] as const;
  });
}

function valuesOf(fields: readonly (readonly [string, string])[], name: string): string[] {
  return fields.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
}

function hostFate(request: OddRequest, { fields }: Recorded): string {
  const sent = valuesOf(linesOf(request), "host");
  const got = valuesOf(fields, "host");
  return got.join(" and ") === sent.join(" and ") ? "as sent" : got.length === 0 ? "none" : got.join(" and ");
}

/** What became of the fields that are for whoever is at the end. */
function fieldsFate(request: OddRequest, { fields }: Recorded): string {
  const sent = linesOf(request).filter(
    ([name]) =>
      name !== "" && !HOP_BY_HOP.has(name.toLowerCase()) && !FRAMING.has(name.toLowerCase()) && !/^host$/i.test(name),
  );
  const told = new Set<string>();
  for (const name of new Set(sent.map(([each]) => each))) {
    const wanted = valuesOf(sent, name);
    const got = valuesOf(fields, name);
    if (got.length === 0) told.add(`without ${known(name)}`);
    else if (got.join("\n") !== wanted.join("\n")) told.add(`${known(name)}: ${got.join(" and ").slice(0, 80)}`);
  }
  return told.size === 0 ? "as sent" : [...told].toSorted(byText).join("; ");
}

/** Names that the seed has chosen say nothing. */
function known(name: string): string {
  return /^X-[a-z0-9]{4}$/.test(name) ? "X-…" : name;
}

function hopFate({ fields }: Recorded): string {
  const told = fields
    .filter(([name]) => HOP_BY_HOP.has(name.toLowerCase()) && name.toLowerCase() !== "transfer-encoding")
    .map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    .filter((text) => !/^connection: (close|keep-alive)?$/.test(text));
  return told.length === 0 ? "none" : told.join("; ");
}

function framingFate({ fields }: Recorded): string {
  const told = fields.filter(([name]) => FRAMING.has(name.toLowerCase())).map(([name]) => name.toLowerCase());
  return told.length === 0 ? "none" : told.join(" and ");
}

/** One row: how the proxies differ in an aspect of an oddity. The text of a proxy has all fates of the kind, by `|`. */
export interface Difference {
  readonly oddity: string;
  readonly aspect: string;
  readonly fates: Readonly<Record<ProxyName, string>>;
}

/** All rows in which some proxy differs from ours. */
export function differences(
  requests: readonly OddRequest[],
  fates: Readonly<Record<ProxyName, ReadonlyMap<number, Fate>>>,
): readonly Difference[] {
  const proxies = Object.keys(fates) as ProxyName[];
  const oddities = [...new Set(requests.map(({ oddity }) => oddity))];
  return oddities.flatMap((oddity) => {
    const numbers = requests.filter((request) => request.oddity === oddity).map(({ number }) => number);
    const aspects = [
      "answer",
      "method",
      "target",
      "version",
      "host",
      "fields",
      "hop-by-hop",
      "body",
      "framing",
      "trailers",
    ];
    return aspects.flatMap((aspect): Difference[] => {
      const told = Object.fromEntries(
        proxies.map((proxy) => {
          const all = numbers.map((number) => fates[proxy].get(number)?.[aspect]).filter((fate) => fate !== undefined);
          return [proxy, [...new Set(all)].toSorted(byText).join(" | ")];
        }),
      ) as Record<ProxyName, string>;
      // Where one of them let nothing through, there is nothing to compare but that.
      const isSame = proxies.every(
        (proxy) => told[proxy] === "" || told[proxy] === told.culvert || told.culvert === "",
      );
      if (isSame) return [];
      const words = Object.fromEntries(proxies.map((proxy) => [proxy, told[proxy] || "-"]));
      return [{ oddity, aspect, fates: words as Record<ProxyName, string> }];
    });
  });
}

/** What a proxy does to all requests. */
export interface Traits {
  /** Names of fields that it adds. */
  readonly adds: readonly string[];
  readonly names: "as sent" | "in lower case";
}

/** What a proxy does to all requests. */
export function traitsOf(requests: readonly OddRequest[], recorded: ReadonlyMap<string, readonly Recorded[]>): Traits {
  const adds = new Set<string>();
  let names: Traits["names"] = "as sent";
  for (const request of requests) {
    const lines = linesOf(request);
    const sent = new Set(lines.map(([name]) => name.toLowerCase()));
    for (const { fields } of recorded.get(String(request.number)) ?? []) {
      for (const [name] of fields) {
        const lower = name.toLowerCase();
        if (!sent.has(lower) && !FRAMING.has(lower) && lower !== "host" && !MADE_OF_ODDITIES.has(lower))
          adds.add(lower);
      }
      if (!fields.some(([name]) => name === "X-Case")) names = "in lower case";
    }
  }
  return { adds: [...adds].toSorted(byText), names };
}
