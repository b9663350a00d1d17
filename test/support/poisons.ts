// Pure. Configuration that somebody wrote to do harm, or by a fearful mistake: each as large as one file may be, or as bad. What must come
// of it is told beside it, so that a folder and a stream are held to the same.
import { LOAD_LIMITS } from "@culvert/shared/config/load.ts";

/** One document, or file of documents, that must not do harm. */
export interface Poison {
  readonly name: string;
  /** Ending of the file. */
  readonly as: "yaml" | "json";
  readonly text: () => string;
  /** `refused`: the state in use stays. `fails closed`: the new state is used, and the resource lets nothing through. */
  readonly outcome: "refused" | "fails closed";
  /** The first problem after the name of the file: line, field, what was expected, and whose it is. */
  readonly says: RegExp;
}

const POLICY =
  "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec:\n  action: ALLOW\n";
const NAMESPACE = "apiVersion: v1\nkind: Namespace\n";

/** An HTTPRoute on the Service `reviews`, as far as its rules. */
const ROUTE = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules:
`;

/** `head`, as often `unit` as fits into one file with it, and `tail`. */
function fill(head: string, unit: (index: number) => string, tail = ""): string {
  const units: string[] = [];
  let length = head.length + tail.length;
  for (let index = 0; ; index++) {
    const next = unit(index);
    length += next.length;
    if (length > LOAD_LIMITS.bytesPerFile) return head + units.join("") + tail;
    units.push(next);
  }
}

function yaml(name: string, text: () => string, says: RegExp, outcome: Poison["outcome"] = "refused"): Poison {
  return { name, as: "yaml", text, outcome, says };
}

function json(name: string, text: () => string, says: RegExp): Poison {
  return { name, as: "json", text, outcome: "refused", says };
}

const TOKENS = /^\d+: expected at most 50000 tokens in a document$/;
const LINES = /^100001: expected at most 100000 lines$/;
const DEPTH = /^1: expected at most 64 levels of nesting$/;

/** The poisons of which one document is enough. */
export const POISONS: readonly Poison[] = [
  yaml("a million rules of a policy", () => `${POLICY}  rules: [${"{},".repeat(340_000)}]\n`, TOKENS),
  yaml("a policy of rules, a line each", () => fill(`${POLICY}  rules:\n`, () => "  - {}\n"), LINES),
  yaml("a route of rules, a line each", () => fill(ROUTE, (i) => `  - {name: "${i}"}\n`), TOKENS),
  yaml(
    "a regular expression of a megabyte",
    () => `${ROUTE}  - matches: [{path: {type: RegularExpression, value: "${"a".repeat(1_000_000)}"}}]\n`,
    /^7: spec\.rules\[0\]\.matches\[0\]\.path\.value: expected a regular expression of at most 1024 characters, found .{1,120} \(HTTPRoute default\/r; not understood, fails closed\)$/,
    "fails closed",
  ),
  yaml(
    "a megabyte of regular expressions",
    () => fill(ROUTE, () => `  - matches: [{path: {type: RegularExpression, value: "${"(a|b)*".repeat(160)}"}}]\n`),
    /^7: spec\.rules: expected at most 16 entries, found \d+ \(HTTPRoute default\/r; not understood, fails closed\)$/,
    "fails closed",
  ),
  json("a megabyte of open lists", () => "[".repeat(LOAD_LIMITS.bytesPerFile), DEPTH),
  json("a megabyte of open mappings", () => '{"a":'.repeat(200_000), DEPTH),
  json("a list that is deep and whole", () => "[".repeat(500_000) + "]".repeat(500_000), DEPTH),
  yaml("lists on one line", () => "- ".repeat(LOAD_LIMITS.bytesPerFile / 2), DEPTH),
  yaml(
    "an alias bomb",
    () => {
      const levels = Array.from({ length: 9 }, (_, at) => `a${at + 1}: &a${at + 1} [${`*a${at},`.repeat(9)}]`);
      return `a0: &a0 [x,x,x,x,x,x,x,x,x]\n${levels.join("\n")}\n`;
    },
    /^6: expected at most 100000 values in a document, aliases counted out$/,
  ),
  yaml(
    "an alias within itself",
    () => `${NAMESPACE}metadata: &m {name: a, labels: *m}\n`,
    /^3: alias \*m has no whole anchor/,
  ),
  yaml(
    "a key that is there twice",
    () => `${POLICY}  rules: []\n  action: DENY\n`,
    /^7: key "action" is there twice, first in line 5$/,
  ),
  json(
    "a key that is there twice, spelt in two ways",
    () => '{"apiVersion": "v1",\n"kind": "Namespace", "metadata": {"name": "a", "n\\u0061me": "b"}}',
    /^2: key "name" is there twice, first in line 2$/,
  ),
  yaml("keys that are all the same", () => fill("", () => "aaaaaaaaa: 1\n"), TOKENS),
  json(
    "__proto__ as a field",
    () => '{"apiVersion": "v1", "kind": "Namespace",\n"metadata": {"name": "a", "__proto__": {"polluted": true}}}',
    /^2: metadata\.__proto__: this field is not supported \(Namespace a\)$/,
  ),
  yaml(
    "constructor and __proto__ as documents",
    () => "__proto__: {kind: Namespace}\nconstructor: {prototype: {polluted: true}}\n",
    /^1: kind: expected the kind of a resource/,
  ),
  yaml(
    "a kind that nobody knows",
    () => "apiVersion: security.istio.io/v1\nkind: AuthorizationPolcy\nmetadata: {name: p}\n",
    /^1: kind: security\.istio\.io\/v1 AuthorizationPolcy is not supported; did you mean AuthorizationPolicy\? \(.*; not understood, fails closed\)$/,
    "fails closed",
  ),
  yaml(
    "a version that nobody knows",
    () => POLICY.replace("/v1", "/v9"),
    /^1: apiVersion: expected v1 or v1beta1, found security\.istio\.io\/v9 \(AuthorizationPolicy default\/p; not understood, fails closed\)$/,
    "fails closed",
  ),
  yaml(
    "a hundred thousand numbers as keys",
    () => `${NAMESPACE}metadata:\n  name: a\n  labels: {${numbers(100_000)}}\n`.slice(0, LOAD_LIMITS.bytesPerFile),
    TOKENS,
  ),
  yaml(
    "numbers as keys, a line each",
    () => fill(`${NAMESPACE}metadata:\n  labels:\n`, (i) => `    ${i}: x\n`),
    TOKENS,
  ),
  yaml(
    "labels that are none",
    () =>
      `${NAMESPACE}metadata:\n  labels:\n${Array.from({ length: 5_000 }, (_, i) => `    "${"!".repeat(160)}${i}": x\n`).join("")}`,
    /^4: metadata\.name: expected a name, found nothing \(Namespace \?\)$/,
  ),
  yaml("a tag that would run something", () => 'a: !!js/function "() => 1"\n', /^1: Unresolved tag/),
  yaml(
    "a name of a megabyte",
    () => `${NAMESPACE}metadata: {name: ${"a".repeat(1_000_000)}}\n`,
    /^3: metadata\.name: expected a DNS name.{1,400}$/,
  ),
  yaml("a text that does not end", () => `"${"a".repeat(LOAD_LIMITS.bytesPerFile - 1)}`, /^1: Missing closing "quote/),
  yaml("a text of lines", () => `a: |\n${" bbbbbbbb\n".repeat(99_900)}`, /^1: kind: expected the kind of a resource/),
  yaml("a text of more lines", () => fill("a: |\n", () => " b\n"), LINES),
  yaml(
    "documents without anything",
    () => "---\n".repeat(99_000),
    /^10001: expected at most 10000 documents in a file$/,
  ),
  yaml("documents with an error each", () => "--- {a: !x 1}\n".repeat(9_999), /^1: Unresolved tag/),
  yaml(
    "more than a file may hold",
    () => " ".repeat(LOAD_LIMITS.bytesPerFile + 1),
    /^ expected at most 1048576 bytes, found 1048577$/,
  ),
];

/** That many keys that are numbers, whose plain hash would end in the same bits. */
export function numbers(count: number): string {
  return Array.from({ length: count }, (_, index) => `${index * 64}: x`).join(",");
}
