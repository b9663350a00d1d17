// Pure. Puts an identity together from its parts; the count of versions is its only state.
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Bundle, Identity, Svid } from "./source.ts";
import { trustDomainOf } from "./spiffe-id.ts";
import type { TrustDomain } from "./spiffe-id.ts";
import { verifyPeer } from "./verify.ts";

let lastVersion = 0;

/**
 * One consistent state of an identity, with a version that no other in this process has. Fails with IDENTITY_UNAVAILABLE
 * when the SVID's own trust domain has no bundle.
 */
export function makeIdentity(svid: Svid, bundles: ReadonlyMap<TrustDomain, Bundle>): Identity | Failure {
  const domain = trustDomainOf(svid.id);
  if (!bundles.has(domain))
    return fail("IDENTITY_UNAVAILABLE", `${svid.id}: no bundle of its own trust domain ${domain}`);
  lastVersion += 1;
  return { version: lastVersion, svid, bundles };
}

/** Whether two identities trust the same roots for the same names. */
export function sameTrust(one: Identity, other: Identity): boolean {
  if (one.bundles === other.bundles) return true;
  if (one.bundles.size !== other.bundles.size) return false;
  for (const [domain, { pem }] of one.bundles) if (other.bundles.get(domain)?.pem !== pem) return false;
  return true;
}

/** What a peer with the same bundles would object to in this identity at `now` (milliseconds since the epoch), if anything. */
export function selfCheck(identity: Identity, now: number): Failure | undefined {
  const [leaf, ...intermediates] = identity.svid.chain;
  if (leaf === undefined) return fail("IDENTITY_UNAVAILABLE", "the certificate chain is empty");
  const verdict = verifyPeer({ leaf, intermediates, bundles: identity.bundles, now, purpose: "server" });
  return isFailure(verdict) ? verdict : undefined;
}
