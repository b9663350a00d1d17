// Pure. Trust bundles: the roots that may vouch for the names of one trust domain (SPIFFE Trust Domain and Bundle).
import type { X509Certificate } from "node:crypto";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { fieldsOf } from "./certificate-fields.ts";
import { certificatesFromDer, certificatesFromPem, pemOf } from "./pem.ts";
import type { Bundle } from "./source.ts";
import type { TrustDomain } from "./spiffe-id.ts";

/**
 * Reads the bundle of a trust domain from PEM. Each certificate must be a self-signed CA: OpenSSL in Node ends a server's
 * chains at self-signed certificates only. Fails with IDENTITY_MALFORMED.
 */
export function bundleFromPem(trustDomain: TrustDomain, pem: string): Bundle | Failure {
  return bundleOf(trustDomain, certificatesFromPem(pem, `bundle of ${trustDomain}`));
}

/** Reads the bundle of a trust domain from concatenated DER, as the SPIFFE Workload API sends it. */
export function bundleFromDer(trustDomain: TrustDomain, der: Uint8Array): Bundle | Failure {
  return bundleOf(trustDomain, certificatesFromDer(der, `bundle of ${trustDomain}`));
}

function bundleOf(trustDomain: TrustDomain, roots: X509Certificate[] | Failure): Bundle | Failure {
  if (isFailure(roots)) return roots;
  for (const root of roots) {
    const problem = rootProblem(root);
    if (problem !== undefined) {
      return fail("IDENTITY_MALFORMED", `bundle of ${trustDomain}: ${JSON.stringify(root.subject)}: ${problem}`);
    }
  }
  return { trustDomain, roots, pem: pemOf(roots) };
}

function rootProblem(root: X509Certificate): string | undefined {
  const fields = fieldsOf(root);
  if (isFailure(fields)) return fields.detail;
  if (!fields.isCa) return "not a CA certificate";
  if (!root.checkIssued(root))
    return "not self-signed; a bundle holds roots, intermediates belong to the certificate chain";
  return undefined;
}

/**
 * Every root of every bundle, for OpenSSL, which knows one pool only. It lets through what any of them signed; which root
 * may vouch for which name is decided afterwards by `verifyPeer`.
 */
export function allRootsPem(bundles: ReadonlyMap<TrustDomain, Bundle>): string[] {
  return [...bundles.values()].map((bundle) => bundle.pem);
}
