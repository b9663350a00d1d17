// Machine. Conformance cases as data: one YAML file each, with the resources that the case is about, the requests that are made while
// they hold, and what must come of each. Read strictly: a key that nobody knows is an error that names its place.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { Resource } from "../support/resources.ts";
import { isPodName, PODS, type PodName } from "./pods.ts";

/** What a header may be: all its values as one text, any of these; `undefined`: it may be absent. */
export type Headers = readonly (readonly [name: string, values: readonly (string | undefined)[]])[];

/** A request, and what must come of it. */
export interface Ask {
  readonly from: PodName;
  /** `http:`, `ws:`, `tcp:`, or `grpc:` whose path is the method. `{echo-v2}` stands for the address of that pod, `{id}` for a new word. */
  readonly url: string;
  readonly method: string;
  /** Instead of the host of the URL. */
  readonly host: string | undefined;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string | undefined;
  readonly http: "1.1" | "2";
  /** Any of these. */
  readonly status: readonly number[];
  /** The call's own status. */
  readonly grpc: number | undefined;
  /** Which pods may answer; none: nobody but a proxy does. */
  readonly pods: readonly PodName[];
  /** Path with query that the backend sees; that of the request unless said. */
  readonly path: string | undefined;
  /** Host that the backend sees; that of the request unless said. */
  readonly sawHost: string | undefined;
  /** Version of HTTP that the backend sees. */
  readonly sawHttp: string | undefined;
  readonly saw: Headers;
  readonly answers: Headers;
  readonly location: string | undefined;
  /** Text that the answer's body must hold. */
  readonly text: string | undefined;
  /** Fields that the waypoint's line in the access log must have. */
  readonly log: Readonly<Record<string, unknown>>;
}

/** Many of the same request, and which part of them each pod must have. */
export interface Share {
  readonly ask: Ask;
  readonly count: number;
  readonly parts: Readonly<Partial<Record<PodName, number>>>;
  /** A header that each backend sees with the name of its own Service as value. */
  readonly sawOfPod: string | undefined;
}

/** Many of the same request, and how many copies of them other pods must have. */
export interface Mirror {
  readonly ask: Ask;
  readonly count: number;
  /** Pod → probability of a copy. */
  readonly copies: Readonly<Partial<Record<PodName, number>>>;
}

/** What must be told of a route. */
export interface RouteStatus {
  /** `KIND namespace/name`. */
  readonly route: string;
  readonly accepted: string;
  readonly resolvedRefs: string;
}

/** One case. */
export interface Case {
  readonly name: string;
  /** `mesh`: a case of the mesh profiles; `gateway`: one of a gateway, on a Service. */
  readonly suite: "mesh" | "gateway";
  readonly features: readonly string[];
  readonly provisional: boolean;
  /** It needs what only our own echo app does. */
  readonly ownEchoOnly: boolean;
  readonly resources: readonly Resource[];
  readonly requests: readonly Ask[];
  readonly shares: readonly Share[];
  readonly mirrors: readonly Mirror[];
  readonly statuses: readonly RouteStatus[];
}

/** The method that echo servers have. */
const ECHO_METHOD = "/proto.EchoTestService/Echo";
const SHARE_COUNT = 500;

/** The fields of a mapping; what nobody has taken in the end is not known. */
class Fields {
  readonly #place: string;
  readonly #left: Map<string, unknown>;

  constructor(place: string, value: unknown) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${place}: a mapping`);
    this.#place = place;
    this.#left = new Map(Object.entries(value));
  }

  #take(key: string): unknown {
    const value = this.#left.get(key);
    this.#left.delete(key);
    return value;
  }

  text(key: string): string | undefined {
    const value = this.#take(key);
    if (value === undefined) return undefined;
    if (typeof value !== "string") throw new Error(`${this.#place}.${key}: a text, not ${JSON.stringify(value)}`);
    return value;
  }

  number(key: string): number | undefined {
    const value = this.#take(key);
    if (value === undefined) return undefined;
    if (typeof value !== "number") throw new Error(`${this.#place}.${key}: a number, not ${JSON.stringify(value)}`);
    return value;
  }

  flag(key: string): boolean {
    const value = this.#take(key);
    if (value !== undefined && typeof value !== "boolean") throw new Error(`${this.#place}.${key}: true or false`);
    return value ?? false;
  }

  list(key: string): readonly unknown[] {
    const value = this.#take(key) ?? [];
    return Array.isArray(value) ? value : [value];
  }

  map(key: string): readonly (readonly [string, unknown])[] {
    const value: unknown = this.#take(key) ?? {};
    if (typeof value !== "object" || value === null) throw new Error(`${this.#place}.${key}: a mapping`);
    return Object.entries(value);
  }

  fields(key: string): Fields {
    return new Fields(`${this.#place}.${key}`, this.#take(key) ?? {});
  }

  end(): void {
    const [unknown] = this.#left.keys();
    if (unknown !== undefined) throw new Error(`${this.#place}.${unknown}: no such key`);
  }
}

function parseAsk(place: string, value: unknown): Ask {
  const fields = value instanceof Fields ? value : new Fields(place, value);
  const from = fields.text("from") ?? "echo-v1";
  if (!isPodName(from)) throw new Error(`${place}.from: one of ${Object.keys(PODS).join(", ")}`);
  const url = fields.text("url") ?? "";
  if (!/^(http|grpc|ws|tcp):\/\/[^/]+/.test(url))
    throw new Error(`${place}.url: http://, grpc://, ws:// or tcp://, not ${url}`);
  const isGrpc = url.startsWith("grpc:");
  const ask: Ask = {
    from,
    url: isGrpc && !/^grpc:\/\/[^/]+\//.test(url) ? `${url}${ECHO_METHOD}` : url,
    method: fields.text("method") ?? (isGrpc ? "POST" : "GET"),
    host: fields.text("host"),
    headers: fields
      .map("headers")
      .flatMap(([name, given]) => (Array.isArray(given) ? given : [given]).map((one) => [name, String(one)] as const)),
    body: fields.text("body"),
    http: (fields.text("http") ?? (isGrpc ? "2" : "1.1")) === "2" ? "2" : "1.1",
    status: statuses(fields.list("status")),
    grpc: fields.number("grpc") ?? (isGrpc ? 0 : undefined),
    pods: fields.list("pod").map((word) => podName(`${place}.pod`, word)),
    path: fields.text("path"),
    sawHost: fields.text("sawHost"),
    sawHttp: fields.text("sawHttp"),
    saw: headers(fields.map("saw")),
    answers: headers(fields.map("answers")),
    location: fields.text("location"),
    text: fields.text("text"),
    log: Object.fromEntries(fields.map("log")),
  };
  fields.end();
  return ask;
}

function statuses(given: readonly unknown[]): number[] {
  return given.length === 0 ? [200] : given.map(Number);
}

function headers(entries: readonly (readonly [string, unknown])[]): Headers {
  return entries.map(([name, value]) => {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    return [name, values.map((one) => (typeof one === "string" ? one : undefined))];
  });
}

function podName(place: string, word: unknown): PodName {
  if (typeof word === "string" && isPodName(word)) return word;
  throw new Error(`${place}: one of ${Object.keys(PODS).join(", ")}, not ${JSON.stringify(word)}`);
}

/** Pods with a number each. */
function numbers(place: string, entries: readonly (readonly [string, unknown])[]): Partial<Record<PodName, number>> {
  return Object.fromEntries(entries.map(([name, value]) => [podName(place, name), Number(value)]));
}

interface Many {
  readonly ask: Ask;
  readonly count: number;
  readonly of: Partial<Record<PodName, number>>;
  readonly sawOfPod: string | undefined;
}

function parseMany(place: string, value: unknown): Many {
  const fields = new Fields(place, value);
  const count = fields.number("count") ?? SHARE_COUNT;
  const of = numbers(`${place}.of`, fields.map("of"));
  const sawOfPod = fields.text("sawOfPod");
  return { ask: parseAsk(place, fields), count, of, sawOfPod };
}

/** Reads a case; throws with the place of what is wrong. */
export function parseCase(suite: Case["suite"], file: string, text: string): Case {
  const fields = new Fields(file, parse(text));
  const many = (key: string): readonly Many[] =>
    fields.list(key).map((item, index) => parseMany(`${file}.${key}[${index}]`, item));
  const found: Case = {
    name: fields.text("name") ?? "",
    suite,
    features: fields.list("features").map(String),
    provisional: fields.flag("provisional"),
    ownEchoOnly: fields.flag("ownEchoOnly"),
    resources: fields.list("resources") as readonly Resource[],
    requests: fields.list("requests").map((item, index) => parseAsk(`${file}.requests[${index}]`, item)),
    shares: many("shares").map(({ ask, count, of, sawOfPod }) => ({ ask, count, parts: of, sawOfPod })),
    mirrors: many("mirrors").map(({ ask, count, of }) => ({ ask, count, copies: of })),
    statuses: fields.list("statuses").map((item, index) => parseStatus(`${file}.statuses[${index}]`, item)),
  };
  fields.end();
  if (!/^[A-Z][A-Za-z0-9]+$/.test(found.name)) throw new Error(`${file}.name: a name like MeshBasic`);
  return found;
}

function parseStatus(place: string, value: unknown): RouteStatus {
  const fields = new Fields(place, value);
  const status: RouteStatus = {
    route: fields.text("route") ?? "",
    accepted: fields.text("accepted") ?? "Accepted",
    resolvedRefs: fields.text("resolvedRefs") ?? "ResolvedRefs",
  };
  fields.end();
  return status;
}

/** All cases of a suite, by the names of their files. */
export function readCases(suite: Case["suite"]): readonly Case[] {
  const folder = join(import.meta.dirname, suite);
  return readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .toSorted()
    .map((name) => parseCase(suite, `${suite}/${name}`, readFileSync(join(folder, name), "utf8")));
}

/** The resources that hold in all cases, and those that hold in the cases of gateways. */
export function readWorld(name: "world" | "gateway-world"): readonly Resource[] {
  return parse(readFileSync(join(import.meta.dirname, `${name}.yaml`), "utf8")) as readonly Resource[];
}
