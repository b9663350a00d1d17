// Pure. X.509-SVIDs: which certificate may stand for a workload, and our own one with its key (SPIFFE X509-SVID).
import { createPrivateKey } from "node:crypto";
import type { KeyObject, X509Certificate } from "node:crypto";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { EXTENDED_KEY_USAGE, fieldsOf } from "./certificate-fields.ts";
import { keyWeakness, publicKeyOf } from "./crypto-strength.ts";
import { certificatesFromDer, certificatesFromPem, pemOf } from "./pem.ts";
import type { Svid } from "./source.ts";
import { parseSpiffeId, pathOf } from "./spiffe-id.ts";
import type { SpiffeId } from "./spiffe-id.ts";

/** The longest chain, leaf and root included: deeper hierarchies are not seen in a mesh, but are sent by attackers. */
export const MAX_CHAIN = 8;

/**
 * The identity that a leaf certificate claims, if its shape is that of an X.509-SVID (X509-SVID sections 2, 4, 5): exactly
 * one URI name, a well-formed SPIFFE ID with a path; not a CA; key usage with digitalSignature and neither keyCertSign nor
 * cRLSign; a strong key. Other kinds of name are allowed by the standard and never read. Nothing is proven yet: that is
 * `verifyPeer`'s. Fails with IDENTITY_MALFORMED, or IDENTITY_UNTRUSTED for a weak key.
 */
export function claimedId(leaf: X509Certificate): SpiffeId | Failure {
  const fields = fieldsOf(leaf);
  if (isFailure(fields)) return fields;
  const [uri, ...others] = fields.uris;
  if (uri === undefined || others.length > 0) {
    return fail("IDENTITY_MALFORMED", `the certificate has ${fields.uris.length} URI names, expected exactly one`);
  }
  const id = parseSpiffeId(uri);
  if (isFailure(id)) return id;
  if (pathOf(id) === "") return fail("IDENTITY_MALFORMED", `${id}: the ID of a workload has a path`);
  if (fields.isCa) return fail("IDENTITY_MALFORMED", `${id}: a CA certificate cannot stand for a workload`);
  const { keyUsage } = fields;
  if (keyUsage === undefined || !keyUsage.digitalSignature || keyUsage.certSign || keyUsage.crlSign) {
    return fail(
      "IDENTITY_MALFORMED",
      `${id}: key usage must have digitalSignature and neither keyCertSign nor cRLSign`,
    );
  }
  const weakness = keyProblem(leaf);
  return weakness === undefined ? id : fail("IDENTITY_UNTRUSTED", `${id}: ${weakness}`);
}

/**
 * Reads our own SVID from PEM texts: leaf first, then its intermediates in order (a root at the end is dropped), and the
 * unencrypted private key. Fails with IDENTITY_MALFORMED or IDENTITY_UNTRUSTED.
 */
export function svidFromPem(chainPem: string, keyPem: string): Svid | Failure {
  const chain = certificatesFromPem(chainPem, "certificate");
  return isFailure(chain) ? chain : svidOf(chain, () => createPrivateKey(keyPem));
}

/** Reads our own SVID from concatenated DER certificates and a PKCS #8 key, as the SPIFFE Workload API sends them. */
export function svidFromDer(chainDer: Uint8Array, keyDer: Uint8Array): Svid | Failure {
  const chain = certificatesFromDer(chainDer, "certificate");
  if (isFailure(chain)) return chain;
  return svidOf(chain, () => createPrivateKey({ key: Buffer.from(keyDer), format: "der", type: "pkcs8" }));
}

function svidOf(given: readonly X509Certificate[], readKey: () => KeyObject): Svid | Failure {
  const chain = given.filter((certificate, index) => index === 0 || !certificate.checkIssued(certificate));
  const [leaf] = chain;
  if (leaf === undefined) return fail("IDENTITY_MALFORMED", "certificate: holds no certificate");
  if (chain.length >= MAX_CHAIN) return fail("IDENTITY_MALFORMED", `certificate: the chain has ${chain.length} parts`);
  const id = claimedId(leaf);
  if (isFailure(id)) return id;
  const problem = usageProblem(leaf) ?? orderProblem(chain);
  if (problem !== undefined) return fail("IDENTITY_MALFORMED", `${id}: ${problem}`);
  const weakness = chainWeakness(chain);
  if (weakness !== undefined) return fail("IDENTITY_UNTRUSTED", `${id}: ${weakness}`);
  let key: KeyObject;
  try {
    key = readKey();
    if (!leaf.checkPrivateKey(key)) return fail("IDENTITY_MALFORMED", `${id}: the key is not the certificate's`);
  } catch {
    // OpenSSL's own words may quote what it read: say less.
    return fail(
      "IDENTITY_MALFORMED",
      `${id}: the private key cannot be read (encrypted, cut short or not PKCS #8/SEC 1)`,
    );
  }
  return {
    id,
    chain,
    chainPem: pemOf(chain),
    keyPem: key.export({ type: "pkcs8", format: "pem" }),
    notBefore: leaf.validFromDate.getTime(),
    notAfter: leaf.validToDate.getTime(),
  };
}

/** We play both parts, so where extended usages are listed both must be (X509-SVID section 4.4). */
function usageProblem(leaf: X509Certificate): string | undefined {
  const fields = fieldsOf(leaf);
  const usages = isFailure(fields) ? [] : fields.extendedKeyUsage;
  if (usages === undefined) return undefined;
  const both = usages.includes(EXTENDED_KEY_USAGE.server) && usages.includes(EXTENDED_KEY_USAGE.client);
  return both ? undefined : "extended key usage must have serverAuth and clientAuth";
}

function orderProblem(chain: readonly X509Certificate[]): string | undefined {
  const index = chain.findIndex((certificate, at) => {
    const issuer = chain[at + 1];
    return issuer !== undefined && !certificate.checkIssued(issuer);
  });
  return index === -1 ? undefined : `certificate ${index + 1} of the chain is not issued by the next one`;
}

/** A context of TLS throws on a key that is too weak, wherever in the chain it stands. */
function chainWeakness(chain: readonly X509Certificate[]): string | undefined {
  for (const [index, certificate] of chain.entries()) {
    const weakness = keyProblem(certificate);
    if (weakness !== undefined) return `certificate ${index + 1} of the chain: ${weakness}`;
  }
  return undefined;
}

function keyProblem(certificate: X509Certificate): string | undefined {
  const key = publicKeyOf(certificate);
  return key === undefined ? "the public key cannot be read" : keyWeakness(key);
}
