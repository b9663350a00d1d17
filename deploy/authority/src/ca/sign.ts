// Machine. Signs leaves by the intermediate: for the key of a request, and for the authority's own server. Who may have what is
// decided elsewhere.
import { X509Certificate, generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { MIN_SVID_LIFE_MS } from "./certificate-authority.ts";
import type { CertificateAndKey } from "./certificate.ts";
import type { Issuer } from "../state/authority-state.ts";
import { signLeaf } from "./leaf.ts";

/** A certificate that was signed. */
export interface SignedSvid {
  readonly certificatePem: string;
  /** Upper-case hex. */
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

const SECOND_MS = 1_000;
/** Clocks differ a little; a certificate is used the moment that it is there. */
const BACKDATED_MS = 60 * SECOND_MS;

/**
 * Signs an SVID for a key that its holder has proven, from `now` for `lifeMs`, or for as long as the authority still lives. Fails
 * with IDENTITY_UNAVAILABLE when that is less than a minute, and with IDENTITY_MALFORMED for an ID of another trust domain.
 */
export function signSvid(
  issuer: Issuer,
  request: { readonly id: SpiffeId; readonly publicKey: KeyObject; readonly lifeMs: number; readonly now: number },
): SignedSvid | Failure {
  const { id, publicKey, lifeMs, now } = request;
  if (trustDomainOf(id) !== issuer.trustDomain) {
    return fail("IDENTITY_MALFORMED", `${id} is not in the trust domain ${issuer.trustDomain}`);
  }
  const times = validity(issuer, lifeMs, now);
  if (isFailure(times)) return times;
  const certificatePem = signLeaf(issuer.signer, { uri: id, publicKey, ...times });
  return { certificatePem, serial: new X509Certificate(certificatePem).serialNumber, notAfter: times.notAfter };
}

/** Mints a certificate of a server with its key, which also has the names by which it is dialled. Fails as `signSvid`. */
export function mintServerCertificate(
  issuer: Issuer,
  request: { readonly id: SpiffeId; readonly names: readonly string[]; readonly lifeMs: number; readonly now: number },
): CertificateAndKey | Failure {
  const times = validity(issuer, request.lifeMs, request.now);
  if (isFailure(times)) return times;
  const { id, names } = request;
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    certificatePem: signLeaf(issuer.signer, { uri: id, names, publicKey, ...times }),
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }),
  };
}

function validity(
  issuer: Issuer,
  lifeMs: number,
  now: number,
): { readonly notBefore: number; readonly notAfter: number } | Failure {
  const second = Math.floor(now / SECOND_MS) * SECOND_MS;
  const notAfter = Math.min(second + Math.floor(lifeMs / SECOND_MS) * SECOND_MS, issuer.notAfter);
  if (notAfter - second >= MIN_SVID_LIFE_MS) return { notBefore: second - BACKDATED_MS, notAfter };
  return fail("IDENTITY_UNAVAILABLE", `the authority ends at ${new Date(issuer.notAfter).toISOString()}`);
}
