// Decisions against a reference written from the text of the semantics: slow, naive, and with nothing shared.
import assert from "node:assert/strict";
import { it } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../failure/failure.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import type { SpiffeId } from "../identity/spiffe-id.ts";
import { parseCidr, parseIp } from "../net/ip.ts";
import type { Cidr, Ip } from "../net/ip.ts";
import type {
  AuthorizationPolicy,
  ConnectionFacts,
  PolicyOperation,
  PolicyRule,
  PolicySource,
  RequestFacts,
  StringMatch,
} from "./authorization.ts";
import { compilePolicies } from "./compile.ts";
import { decide, decideRequest, decideResolved, resolvePeer } from "./decide.ts";
import { explain } from "./explain.ts";

// --- The reference -------------------------------------------------------------------------------------------------

type Verdict = "allow" | "deny" | "not-understood";

function compare(match: StringMatch, value: string): boolean {
  if (match.kind === "exact") return value === match.value;
  if (value === "") return false;
  if (match.kind === "prefix") return value.slice(0, match.value.length) === match.value;
  if (match.kind === "suffix") return value.slice(value.length - match.value.length) === match.value;
  return true;
}

function positive<T>(wanted: readonly T[] | undefined, holds: (one: T) => boolean): boolean {
  return wanted === undefined || wanted.length === 0 || wanted.filter(holds).length > 0;
}

function negative<T>(unwanted: readonly T[] | undefined, holds: (one: T) => boolean): boolean {
  return unwanted === undefined || unwanted.filter(holds).length === 0;
}

/** Addresses as strings of bits; the generated ones are IPv4 and plain IPv6 groups. */
function bits(address: Ip): string {
  if (!address.includes(":")) {
    return address
      .split(".")
      .map((byte) => Number(byte).toString(2).padStart(8, "0"))
      .join("");
  }
  const [left = "", right = ""] = address.split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === "" ? [] : right.split(":");
  const middle = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  return [...head, ...middle, ...tail]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0"))
    .join("");
}

function inside(block: Cidr, address: Ip): boolean {
  const network = Array.from(block.bytes, (byte) => byte.toString(2).padStart(8, "0")).join("");
  const own = bits(address);
  return own.length === network.length && own.slice(0, block.bits) === network.slice(0, block.bits);
}

function sourceHolds(source: PolicySource, facts: ConnectionFacts): boolean {
  const principal = facts.principal === undefined ? "" : facts.principal.replace(/^spiffe:\/\//, "");
  const namespace = /^[^/]+\/ns\/([^/]+)\/sa\/[^/]+$/.exec(principal)?.[1] ?? "";
  return (
    positive(source.principals, (match) => compare(match, principal)) &&
    negative(source.notPrincipals, (match) => compare(match, principal)) &&
    positive(source.namespaces, (match) => compare(match, namespace)) &&
    negative(source.notNamespaces, (match) => compare(match, namespace)) &&
    positive(source.ipBlocks, (block) => inside(block, facts.sourceIp)) &&
    negative(source.notIpBlocks, (block) => inside(block, facts.sourceIp))
  );
}

function usesHttp(operation: PolicyOperation): boolean {
  const { hosts, notHosts, methods, notMethods, paths, notPaths } = operation;
  return [hosts, notHosts, methods, notMethods, paths, notPaths].some((values) => (values?.length ?? 0) > 0);
}

function operationHolds(
  operation: PolicyOperation,
  facts: ConnectionFacts,
  request: RequestFacts | undefined,
): boolean {
  const ports =
    positive(operation.ports, (port) => port === facts.destinationPort) &&
    negative(operation.notPorts, (port) => port === facts.destinationPort);
  if (request === undefined) return ports; // reached by DENY only: what cannot be checked counts as matching
  const host = (match: StringMatch): boolean =>
    compare({ ...match, value: match.value.toLowerCase() }, request.host.toLowerCase());
  return (
    ports &&
    positive(operation.hosts, host) &&
    negative(operation.notHosts, host) &&
    positive(operation.methods, (match) => compare(match, request.method)) &&
    negative(operation.notMethods, (match) => compare(match, request.method)) &&
    positive(operation.paths, (match) => compare(match, request.path)) &&
    negative(operation.notPaths, (match) => compare(match, request.path))
  );
}

function ruleHolds(
  rule: PolicyRule,
  action: "ALLOW" | "DENY",
  facts: ConnectionFacts,
  request: RequestFacts | undefined,
): boolean {
  if (request === undefined && action === "ALLOW" && rule.to.some(usesHttp)) return false;
  return (
    positive(rule.from, (source) => sourceHolds(source, facts)) &&
    positive(rule.to, (operation) => operationHolds(operation, facts, request))
  );
}

function reference(
  policies: readonly AuthorizationPolicy[],
  facts: ConnectionFacts,
  request: RequestFacts | undefined,
): Verdict {
  const enforced = policies.filter((policy) => !policy.dryRun);
  if (enforced.some((policy) => policy.notUnderstood !== undefined)) return "not-understood";
  const holds = (policy: AuthorizationPolicy): boolean =>
    policy.rules.some((rule) => ruleHolds(rule, policy.action, facts, request));
  if (enforced.some((policy) => policy.action === "DENY" && holds(policy))) return "deny";
  const allows = enforced.filter((policy) => policy.action === "ALLOW");
  if (allows.length === 0) return "allow";
  return allows.some(holds) ? "allow" : "deny";
}

// --- Generators: few values, near to each other, so that rules often nearly match ----------------------------------

function checked<T>(value: T | undefined): T {
  assert(value !== undefined && !isFailure(value));
  return value;
}

const idOf = (text: string): SpiffeId => {
  const parsed = parseSpiffeId(text);
  assert(!isFailure(parsed));
  return parsed;
};

const principals = [
  "spiffe://a.b/ns/x/sa/a",
  "spiffe://a.b/ns/x/sa/ab",
  "spiffe://a.b/ns/xy/sa/a",
  "spiffe://aXb/ns/x/sa/a".toLowerCase(),
  "spiffe://a.b/other",
  "spiffe://a.b/ns/x/sa/a/b",
].map(idOf);

const values: Record<"principal" | "namespace" | "host" | "method" | "path", readonly string[]> = {
  principal: ["a.b/ns/x/sa/a", "a.b/ns/x/", "/sa/a", "b/ns/xy/sa/a", "a.b", "ns/x/sa/a"],
  namespace: ["x", "xy", "y"],
  host: ["a.test", "A.test", "a.test:80", ".test", "b"],
  method: ["GET", "get", "PUT", "G", "T"],
  path: ["/", "/a", "/a/", "/a/b", "b", "/A"],
};

const strings = (pool: readonly string[]): fc.Arbitrary<StringMatch[]> =>
  fc.array(
    fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ kind: fc.constantFrom("exact", "prefix", "suffix"), value: fc.constantFrom(...pool) }),
      },
      { weight: 1, arbitrary: fc.constant<StringMatch>({ kind: "presence", value: "" }) },
    ),
    { maxLength: 2 },
  );

const blocks = fc.array(
  fc.constantFrom(
    ...["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "fd00::/8", "::/0"].map((text) =>
      checked(parseCidr(text)),
    ),
  ),
  { maxLength: 2 },
);
const ports = fc.array(fc.constantFrom(80, 81), { maxLength: 2 });

const source: fc.Arbitrary<PolicySource> = fc.record(
  {
    principals: strings(values.principal),
    notPrincipals: strings(values.principal),
    namespaces: strings(values.namespace),
    notNamespaces: strings(values.namespace),
    ipBlocks: blocks,
    notIpBlocks: blocks,
  },
  { requiredKeys: [] },
);

const operation: fc.Arbitrary<PolicyOperation> = fc.record(
  {
    ports,
    notPorts: ports,
    hosts: strings(values.host),
    notHosts: strings(values.host),
    methods: strings(values.method),
    notMethods: strings(values.method),
    paths: strings(values.path),
    notPaths: strings(values.path),
  },
  { requiredKeys: [] },
);

const policy: fc.Arbitrary<AuthorizationPolicy> = fc.record({
  uid: fc.constantFrom("n/p", "n/q"),
  namespace: fc.constant("n"),
  name: fc.constant("p"),
  action: fc.constantFrom("ALLOW", "DENY"),
  dryRun: fc.boolean(),
  target: fc.constant({ kind: "namespace" as const }),
  rules: fc.array(fc.record({ from: fc.array(source, { maxLength: 2 }), to: fc.array(operation, { maxLength: 2 }) }), {
    maxLength: 2,
  }),
  notUnderstood: fc.option(fc.constant("broken"), { nil: undefined, freq: 30 }),
});

const facts: fc.Arbitrary<ConnectionFacts> = fc.record({
  principal: fc.option(fc.constantFrom(...principals), { nil: undefined, freq: 4 }),
  sourceIp: fc.constantFrom(
    ...["10.1.2.3", "10.2.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"].map((text) => checked(parseIp(text))),
  ),
  destinationIp: fc.constant(undefined),
  destinationPort: fc.constantFrom(80, 81, 82),
});

const request: fc.Arbitrary<RequestFacts> = fc.record({
  method: fc.constantFrom("GET", "PUT", "get"),
  host: fc.constantFrom("a.test", "a.test:80", "b.test", ""),
  path: fc.constantFrom("/", "/a", "/a/b", "/b"),
});

it("decides as the naive reference does, on connections and on requests", () => {
  fc.assert(
    fc.property(fc.array(policy, { maxLength: 4 }), facts, request, (policies, connection, asked) => {
      const l4 = compilePolicies(policies, "l4");
      const l7 = compilePolicies(policies, "l7");
      const onConnection = decide(l4, connection);
      const onRequest = decideRequest(l7, connection, asked);
      assert.equal(verdict(onConnection), reference(policies, connection, undefined));
      assert.equal(verdict(onRequest), reference(policies, connection, asked));
      assert.equal(verdict(decide(l7, connection)), verdict(onConnection));
      assert.equal(verdict(decideResolved(resolvePeer(l7, connection), asked)), verdict(onRequest));
      consistent(policies, connection, asked);
    }),
    { numRuns: 20_000 },
  );
});

function verdict(decision: ReturnType<typeof decide>): Verdict {
  if (decision.allowed) return "allow";
  return decision.failure.code === "POLICY_NOT_UNDERSTOOD" ? "not-understood" : "deny";
}

/** An explanation must agree with the decision that it explains: the policy that decided is the first that matched. */
function consistent(policies: readonly AuthorizationPolicy[], connection: ConnectionFacts, asked: RequestFacts): void {
  const { decision, policies: said } = explain(compilePolicies(policies, "l7"), connection, asked);
  const first = said.find((one) => one.matched && !one.dryRun);
  assert.equal(decision.policy, first?.policy ?? "");
  if (first !== undefined && first.rules.length > 0) {
    assert.equal(decision.rule, first.rules.find((rule) => rule.matched)?.rule);
  }
}
