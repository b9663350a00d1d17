// Machine. A certificate authority that somebody else has made, such as cert-manager or Vault, taken by its files and checked by
// the rules by which the mesh will judge what it signs.
import { X509Certificate, createPrivateKey, createPublicKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import { fieldsOf } from "@culvert/shared/identity/certificate-fields.ts";
import { keyWeakness } from "@culvert/shared/identity/crypto-strength.ts";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { makeIdentity, selfCheck } from "@culvert/shared/identity/identity.ts";
import { certificatesFromPem, pemOf } from "@culvert/shared/identity/pem.ts";
import { workloadId } from "@culvert/shared/identity/spiffe-id.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { svidFromPem } from "@culvert/shared/identity/svid.ts";
import { MIN_SVID_LIFE_MS, createBelow, endOfChain, issueSvid } from "./certificate-authority.ts";
import type { CertificateAuthority } from "./certificate-authority.ts";
import { canSign } from "./signer.ts";

/** The files of a CA, as text. */
export interface CaFiles {
  /** The certificate that is to sign; further ones up to the root may follow. */
  readonly certificatePem: string;
  readonly keyPem: string;
  /** What stands above, in any order, with the root. */
  readonly chainPem: string;
  /** How the files are called in messages. */
  readonly places: { readonly certificate: string; readonly key: string; readonly chain: string };
}

/**
 * Takes a CA. An intermediate signs itself, and its root's key is not wanted; below a self-signed one an intermediate is made.
 * Fails with IDENTITY_MALFORMED when the files do not make a CA that may sign for `trustDomain` now, or with the code by which
 * peers would refuse its certificates.
 */
export async function importAuthority(
  trustDomain: TrustDomain,
  files: CaFiles,
  now: number,
): Promise<CertificateAuthority | Failure> {
  const { places } = files;
  const own = certificatesFromPem(files.certificatePem, places.certificate);
  if (isFailure(own)) return own;
  const above = files.chainPem === "" ? [] : certificatesFromPem(files.chainPem, places.chain);
  if (isFailure(above)) return above;
  const [signer, ...rest] = own;
  const key = keyOf(files.keyPem, places.key);
  if (isFailure(key)) return key;
  if (signer?.checkPrivateKey(key) !== true) return malformed(`${places.key} is not the key of ${places.certificate}`);
  const problem = keyProblem(key) ?? usageProblem(signer);
  if (problem !== undefined) return malformed(`${places.certificate}: ${problem}`);
  const chain = chainTo(signer, [...rest, ...above]);
  if (isFailure(chain)) return fail(chain.code, `${places.certificate}: ${chain.detail}`);
  const keyPem = key.export({ type: "pkcs8", format: "pem" });
  const authority = await assemble(trustDomain, chain, keyPem, now);
  if (isFailure(authority)) return fail(authority.code, `${places.certificate}: ${authority.detail}`);
  const objection = objectionTo(authority, now);
  return objection === undefined ? authority : fail(objection.code, `${places.certificate}: ${objection.detail}`);
}

/** What peers would say to a certificate that this authority signs now, if anything. */
export function objectionTo(authority: CertificateAuthority, now: number): Failure | undefined {
  const { trustDomain, root } = authority;
  const id = workloadId(trustDomain, "default", "default");
  if (isFailure(id)) return id;
  if (endOfChain(authority) < now + MIN_SVID_LIFE_MS) {
    return fail("IDENTITY_EXPIRED", `it ends at ${new Date(endOfChain(authority)).toISOString()}`);
  }
  const issued = issueSvid(authority, id, MIN_SVID_LIFE_MS, now);
  if (isFailure(issued)) return issued;
  const svid = svidFromPem(issued.svidPem, issued.keyPem);
  if (isFailure(svid)) return svid;
  const bundle = bundleFromPem(trustDomain, root.certificatePem);
  if (isFailure(bundle)) return bundle;
  const identity = makeIdentity(svid, new Map([[trustDomain, bundle]]));
  return isFailure(identity) ? identity : selfCheck(identity, now);
}

/** Whether an authority may sign revocation lists: cert-manager, for one, makes intermediates that may not. */
export function mayRevoke({ intermediate }: CertificateAuthority): boolean {
  const fields = fieldsOf(new X509Certificate(intermediate.certificatePem));
  return !isFailure(fields) && (fields.keyUsage?.crlSign ?? true);
}

async function assemble(
  trustDomain: TrustDomain,
  chain: readonly X509Certificate[],
  keyPem: string,
  now: number,
): Promise<CertificateAuthority | Failure> {
  const [signer] = chain;
  const root = chain.at(-1);
  if (signer === undefined || root === undefined) return malformed("there is no certificate");
  if (signer !== root) {
    return {
      trustDomain,
      root: { certificatePem: root.toString(), keyPem: undefined },
      intermediate: { certificatePem: signer.toString(), keyPem },
      upperPem: pemOf(chain.slice(1, -1)),
    };
  }
  const fields = fieldsOf(root);
  if (isFailure(fields)) return fields;
  if (fields.pathLength === 0) return malformed("a root of path length 0 has no room for an intermediate");
  if (createPublicKey(keyPem).asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    return malformed("an intermediate is made below roots with a P-256 key only; give an intermediate and its chain");
  }
  return createBelow(trustDomain, { certificatePem: root.toString(), keyPem }, now);
}

/** The way from a certificate up to a self-signed one. */
function chainTo(signer: X509Certificate, others: readonly X509Certificate[]): readonly X509Certificate[] | Failure {
  const chain = [signer];
  let top = signer;
  while (!isSelfSigned(top)) {
    const issued = top;
    const issuer = others.find((each) => !chain.includes(each) && hasSigned(each, issued));
    if (issuer === undefined) {
      return malformed(`the chain does not hold the certificate of ${oneLine(top.issuer)}, up to a self-signed root`);
    }
    chain.push(issuer);
    top = issuer;
  }
  return chain;
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return hasSigned(certificate, certificate);
}

function hasSigned(issuer: X509Certificate, certificate: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

function keyOf(pem: string, place: string): KeyObject | Failure {
  try {
    return createPrivateKey(pem);
  } catch {
    return malformed(`${place} is not a private key in PEM without a passphrase`);
  }
}

function keyProblem(key: KeyObject): string | undefined {
  if (!canSign(key))
    return `a key of type ${key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType} cannot sign here`;
  return keyWeakness(createPublicKey(key));
}

function usageProblem(signer: X509Certificate): string | undefined {
  const fields = fieldsOf(signer);
  if (isFailure(fields)) return fields.detail;
  if (!fields.isCa) return "it is not a CA certificate";
  return fields.keyUsage === undefined || fields.keyUsage.certSign ? undefined : "it may not sign certificates";
}

function oneLine(name: string | undefined): string {
  return JSON.stringify((name ?? "").split("\n").join(", "));
}

function malformed(detail: string): Failure {
  return fail("IDENTITY_MALFORMED", detail);
}
