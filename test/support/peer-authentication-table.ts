// Pure. The truth table of inbound connections: (plaintext, mutual TLS) by what PeerAuthentication says, by what policies say.
// Judged as a function beside `uproxy/src/state.ts`, and on real connections in `test/e2e/plaintext.test.ts`.
import { authorizationPolicy, peerAuthentication, type Resource } from "./resources.ts";

/** The app that all of it is about. */
export const TABLE_APP = "app";
/** The account that calls with mutual TLS. */
export const TABLE_CALLER = "client";
/** The port of the app that is asked. */
export const TABLE_PORT = 8080;

const OWN = { app: TABLE_APP };

/** What PeerAuthentication says, and whether plaintext may then come to the port. */
const MODES: readonly (readonly [name: string, resources: readonly Resource[], plaintext: boolean])[] = [
  ["no mode", [], true],
  ["UNSET", [peerAuthentication("own", "UNSET", OWN)], true],
  ["PERMISSIVE", [peerAuthentication("own", "PERMISSIVE", OWN)], true],
  ["DISABLE", [peerAuthentication("own", "DISABLE", OWN)], true],
  ["STRICT", [peerAuthentication("own", "STRICT", OWN)], false],
  ["STRICT for the namespace", [peerAuthentication("all", "STRICT", {})], false],
  ["STRICT but for the port", [peerAuthentication("own", "STRICT", OWN, { [TABLE_PORT]: "PERMISSIVE" })], true],
  ["PERMISSIVE but for the port", [peerAuthentication("own", "PERMISSIVE", OWN, { [TABLE_PORT]: "STRICT" })], false],
];

/** What policies say, and to whom they say yes. */
const POLICIES: readonly (readonly [
  name: string,
  resources: readonly Resource[],
  plaintext: boolean,
  mtls: boolean,
])[] = [
  ["no policy", [], true, true],
  ["ALLOW the port", [policy("ALLOW", { to: [{ operation: { ports: [String(TABLE_PORT)] } }] })], true, true],
  ["ALLOW the caller", [policy("ALLOW", fromPrincipal(TABLE_CALLER))], false, true],
  ["ALLOW nobody", [authorizationPolicy("p", "ALLOW", OWN, [])], false, false],
  ["DENY everybody", [policy("DENY", {})], false, false],
  ["DENY the caller", [policy("DENY", fromPrincipal(TABLE_CALLER))], true, false],
  ["DENY whoever is not the caller", [policy("DENY", fromOthers(TABLE_CALLER))], false, true],
];

function policy(action: "ALLOW" | "DENY", rule: object): Resource {
  return authorizationPolicy("p", action, OWN, [rule]);
}

function fromPrincipal(account: string): object {
  return { from: [{ source: { principals: [`cluster.local/ns/default/sa/${account}`] } }] };
}

function fromOthers(account: string): object {
  return { from: [{ source: { notPrincipals: [`cluster.local/ns/default/sa/${account}`] } }] };
}

/** What becomes of a connection. */
export type Outcome = "open" | "MTLS_REQUIRED" | "DENIED_BY_POLICY";

/** One row: some resources, and what becomes of a connection of each kind under them. */
export interface TableRow {
  readonly name: string;
  readonly resources: readonly Resource[];
  readonly plaintext: Outcome;
  readonly mtls: Outcome;
}

/** All rows. */
export const TABLE: readonly TableRow[] = MODES.flatMap(([mode, modeResources, mayBePlain]) =>
  POLICIES.map(([name, policyResources, allowsPlain, allowsMtls]): TableRow => {
    const plaintext = allowsPlain ? "open" : "DENIED_BY_POLICY";
    return {
      name: `${mode}, ${name}`,
      resources: [...modeResources, ...policyResources],
      plaintext: mayBePlain ? plaintext : "MTLS_REQUIRED",
      mtls: allowsMtls ? "open" : "DENIED_BY_POLICY",
    };
  }),
);
