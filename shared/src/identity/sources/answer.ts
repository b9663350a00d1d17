// Pure. What a certificate authority has answered, put together to an identity or refused.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { bundleFromPem } from "../bundle.ts";
import { makeIdentity, selfCheck } from "../identity.ts";
import { certificatesFromPem, pemOf } from "../pem.ts";
import type { Identity } from "../source.ts";
import { trustDomainOf } from "../spiffe-id.ts";
import type { SpiffeId } from "../spiffe-id.ts";
import { svidFromPem } from "../svid.ts";

/** More than any chain has entries, each of which may hold several certificates. */
const MAX_ENTRIES = 16;
/** Like the bound on files of an identity. */
const MAX_TEXT = 1024 * 1024;

/**
 * Reads a chain as Istio's protocol has it: leaf first, then intermediates, the roots of its trust domain last. Fails with
 * IDENTITY_MALFORMED or IDENTITY_UNTRUSTED; validity and signatures are `objectionTo`'s.
 */
export function identityFromAnswer(chain: readonly string[], keyPem: string): Identity | Failure {
  if (chain.length > MAX_ENTRIES) return fail("IDENTITY_MALFORMED", `the chain has more than ${MAX_ENTRIES} entries`);
  const text = chain.join("\n");
  if (text.length > MAX_TEXT) return fail("IDENTITY_MALFORMED", `the chain is longer than ${MAX_TEXT} characters`);
  const svid = svidFromPem(text, keyPem);
  if (isFailure(svid)) return svid;
  const certificates = certificatesFromPem(text, "certificate");
  if (isFailure(certificates)) return certificates;
  const roots = certificates.filter((certificate, at) => at > 0 && certificate.checkIssued(certificate));
  if (roots.length === 0) return fail("IDENTITY_MALFORMED", `${svid.id}: the chain does not end with a root`);
  const domain = trustDomainOf(svid.id);
  const bundle = bundleFromPem(domain, pemOf(roots));
  return isFailure(bundle) ? bundle : makeIdentity(svid, new Map([[domain, bundle]]));
}

/** Why this identity must not be taken into use at `now` (milliseconds since the epoch); `expected` is whose it must be, if that is known. */
export function objectionTo(identity: Identity, expected: SpiffeId | undefined, now: number): Failure | undefined {
  const { id } = identity.svid;
  if (expected !== undefined && id !== expected) {
    return fail("IDENTITY_MISMATCH", `the certificate is ${id}'s, asked for ${expected}`);
  }
  return selfCheck(identity, now);
}
