// Pure. Puts an identity together from its parts; the count of versions is its only state.
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Bundle, Identity, RevocationList, Revocations, Svid, Trust } from "./source.ts";
import { trustDomainOf } from "./spiffe-id.ts";
import type { TrustDomain } from "./spiffe-id.ts";
import { verifyPeer } from "./verify.ts";

let lastVersion = 0;

const NO_REVOCATIONS: Revocations = new Map();
const NO_ALIASES: ReadonlySet<TrustDomain> = new Set();

/**
 * One consistent state of an identity, with a version that no other in this process has. Nothing is revoked and no trust
 * domain is an alias unless `trust` says so. Fails with IDENTITY_UNAVAILABLE when the SVID's own trust domain has no bundle.
 */
export function makeIdentity(
  svid: Svid,
  bundles: ReadonlyMap<TrustDomain, Bundle>,
  trust: Partial<Omit<Trust, "bundles">> = {},
): Identity | Failure {
  const domain = trustDomainOf(svid.id);
  if (!bundles.has(domain))
    return fail("IDENTITY_UNAVAILABLE", `${svid.id}: no bundle of its own trust domain ${domain}`);
  lastVersion += 1;
  const { revocations = NO_REVOCATIONS, aliases = NO_ALIASES } = trust;
  return { version: lastVersion, svid, bundles, revocations, aliases };
}

/** Whether two identities trust the same roots for the same names, and hold the same certificates for revoked. */
export function sameTrust(one: Trust, other: Trust): boolean {
  return sameBundles(one.bundles, other.bundles) && sameRevocations(one.revocations, other.revocations);
}

/** Whether two identities trust the same roots for the names of one trust domain. */
export function sameBundle(domain: TrustDomain, one: Trust, other: Trust): boolean {
  return one.bundles.get(domain)?.pem === other.bundles.get(domain)?.pem;
}

function sameBundles(one: Trust["bundles"], other: Trust["bundles"]): boolean {
  if (one === other) return true;
  if (one.size !== other.size) return false;
  for (const [domain, { pem }] of one) if (other.get(domain)?.pem !== pem) return false;
  return true;
}

/** Whether two identities hold the same certificates for revoked. */
export function sameRevocations(one: Revocations, other: Revocations): boolean {
  if (one === other) return true;
  if (one.size !== other.size) return false;
  for (const [issuer, lists] of one) {
    const others: readonly RevocationList[] = other.get(issuer) ?? [];
    if (lists.length !== others.length || lists.some(({ digest }, at) => digest !== others[at]?.digest)) return false;
  }
  return true;
}

/** What a peer with the same bundles would object to in this identity at `now` (milliseconds since the epoch), if anything. */
export function selfCheck(identity: Identity, now: number): Failure | undefined {
  const [leaf, ...intermediates] = identity.svid.chain;
  if (leaf === undefined) return fail("IDENTITY_UNAVAILABLE", "the certificate chain is empty");
  const verdict = verifyPeer({
    leaf,
    intermediates,
    bundles: identity.bundles,
    revocations: identity.revocations,
    now,
    purpose: "server",
  });
  return isFailure(verdict) ? verdict : undefined;
}
