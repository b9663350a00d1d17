// Pure. SPIFFE IDs and trust domains by the grammar of the standard (SPIFFE-ID section 2), nothing more lenient.
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";

declare const spiffeId: unique symbol;
declare const trustDomain: unique symbol;

/** A SPIFFE ID, `spiffe://<trust domain>/<path>`, that `parseSpiffeId` has checked. Comparable with `===`. */
export type SpiffeId = string & { readonly [spiffeId]: true };

/** A trust domain name, made by `parseTrustDomain` alone. */
export type TrustDomain = string & { readonly [trustDomain]: true };

/** The two names in an ID of the form `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. */
export interface WorkloadName {
  readonly namespace: string;
  readonly serviceAccount: string;
}

const SCHEME = "spiffe://";
/** SPIFFE-ID section 2.3: the least that every implementation must take, and the most that we take. */
const MAX_ID_LENGTH = 2048;
/** SPIFFE-ID section 2.3, from the host of RFC 3986 section 3.2.2. */
const MAX_TRUST_DOMAIN_LENGTH = 255;

const TRUST_DOMAIN = /^[a-z0-9._-]+$/;
const SEGMENT = /^[A-Za-z0-9._-]+$/;

/**
 * Reads a trust domain name: 1 to 255 of `a-z 0-9 . - _`, no scheme, port or userinfo (SPIFFE-ID section 2.1).
 * Fails with IDENTITY_MALFORMED.
 */
export function parseTrustDomain(text: string): TrustDomain | Failure {
  const problem = trustDomainProblem(text);
  return problem === undefined ? (text as TrustDomain) : malformed(text, problem);
}

/**
 * Reads a SPIFFE ID. The path may be absent (the ID of a trust domain itself); a certificate's ID must have one, which is
 * checked where certificates are read. Upper case in the scheme or trust domain, percent-encoding, query, fragment, port,
 * userinfo, empty or dot segments and a trailing slash are refused. Fails with IDENTITY_MALFORMED.
 */
export function parseSpiffeId(text: string): SpiffeId | Failure {
  const problem = spiffeIdProblem(text);
  return problem === undefined ? (text as SpiffeId) : malformed(text, problem);
}

/** The trust domain of an ID. */
export function trustDomainOf(id: SpiffeId): TrustDomain {
  const slash = id.indexOf("/", SCHEME.length);
  return id.slice(SCHEME.length, slash === -1 ? undefined : slash) as TrustDomain;
}

/** The path of an ID with its leading slash; empty for the ID of a trust domain itself. */
export function pathOf(id: SpiffeId): string {
  const slash = id.indexOf("/", SCHEME.length);
  return slash === -1 ? "" : id.slice(slash);
}

/** Namespace and service account of an ID whose path is exactly `/ns/<namespace>/sa/<service account>`. */
export function workloadOf(id: SpiffeId): WorkloadName | undefined {
  const [, ns, namespace, sa, serviceAccount, ...rest] = pathOf(id).split("/");
  if (ns !== "ns" || sa !== "sa" || namespace === undefined || serviceAccount === undefined || rest.length > 0) {
    return undefined;
  }
  return { namespace, serviceAccount };
}

/** The ID of a workload. Fails with IDENTITY_MALFORMED when a name is not one path segment or the whole is too long. */
export function workloadId(domain: TrustDomain, namespace: string, serviceAccount: string): SpiffeId | Failure {
  const id = parseSpiffeId(`${SCHEME}${domain}/ns/${namespace}/sa/${serviceAccount}`);
  if (isFailure(id)) return id;
  return workloadOf(id) === undefined ? malformed(id, "a name must be one path segment") : id;
}

/** The same name in another trust domain. */
export function inTrustDomain(id: SpiffeId, domain: TrustDomain): SpiffeId {
  return `${SCHEME}${domain}${pathOf(id)}` as SpiffeId;
}

/** What a name is called at home: the same name in `own` where its trust domain is an alias of it, and else itself. */
export function homeName(id: SpiffeId, own: TrustDomain, aliases: ReadonlySet<TrustDomain>): SpiffeId {
  return aliases.size > 0 && aliases.has(trustDomainOf(id)) ? inTrustDomain(id, own) : id;
}

/** The ID of a trust domain itself, as signing certificates carry it (X509-SVID section 2). */
export function trustDomainId(domain: TrustDomain): SpiffeId {
  return `${SCHEME}${domain}` as SpiffeId;
}

function trustDomainProblem(name: string): string | undefined {
  if (name === "") return "the trust domain is empty";
  if (name.length > MAX_TRUST_DOMAIN_LENGTH) return `the trust domain is longer than ${MAX_TRUST_DOMAIN_LENGTH} bytes`;
  if (!TRUST_DOMAIN.test(name)) return "a trust domain holds only a-z, 0-9, '.', '-' and '_'";
  return undefined;
}

function spiffeIdProblem(text: string): string | undefined {
  if (text.length > MAX_ID_LENGTH) return `longer than ${MAX_ID_LENGTH} bytes`;
  if (!text.startsWith(SCHEME)) return `does not begin with ${SCHEME}`;
  const [domain = "", ...segments] = text.slice(SCHEME.length).split("/");
  return trustDomainProblem(domain) ?? segments.map(segmentProblem).find((problem) => problem !== undefined);
}

function segmentProblem(segment: string): string | undefined {
  if (segment === "") return "a path segment is empty";
  if (segment === "." || segment === "..") return "a path segment is '.' or '..'";
  if (!SEGMENT.test(segment)) return "a path segment holds only A-Z, a-z, 0-9, '.', '-' and '_'";
  return undefined;
}

function malformed(text: string, problem: string): Failure {
  const shown = text.length > 128 ? `${text.slice(0, 128)}…` : text;
  return fail("IDENTITY_MALFORMED", `${JSON.stringify(shown)}: ${problem}`);
}
