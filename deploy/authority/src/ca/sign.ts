// Machine. Signs leaves by the intermediate: for the key of a request, and for the authority's own server. Who may have what is
// decided elsewhere.
import { X509Certificate } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { MIN_SVID_LIFE_MS } from "../ca.ts";
import { certifyKey, mintCertificate } from "../certificate.ts";
import type { CertificateAndKey } from "../certificate.ts";
import type { Issuer } from "../serve/authority-state.ts";

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
export async function signSvid(
  issuer: Issuer,
  request: { readonly id: SpiffeId; readonly publicKey: KeyObject; readonly lifeMs: number; readonly now: number },
): Promise<SignedSvid | Failure> {
  const { id, publicKey, lifeMs, now } = request;
  if (trustDomainOf(id) !== issuer.trustDomain) {
    return fail("IDENTITY_MALFORMED", `${id} is not in the trust domain ${issuer.trustDomain}`);
  }
  const times = validity(issuer, lifeMs, now);
  if (isFailure(times)) return times;
  const certificatePem = await certifyKey({
    subject: "",
    uri: id,
    role: { kind: "leaf" },
    ...times,
    issuer: issuer.signer,
    publicKey,
  });
  return { certificatePem, serial: new X509Certificate(certificatePem).serialNumber, notAfter: times.notAfter };
}

/** Mints a certificate of a server with its key, which also has the names by which it is dialled. Fails as `signSvid`. */
export async function mintServerCertificate(
  issuer: Issuer,
  request: { readonly id: SpiffeId; readonly names: readonly string[]; readonly lifeMs: number; readonly now: number },
): Promise<CertificateAndKey | Failure> {
  const times = validity(issuer, request.lifeMs, request.now);
  if (isFailure(times)) return times;
  const { id, names } = request;
  return mintCertificate({ subject: "", uri: id, names, role: { kind: "leaf" }, ...times, issuer: issuer.signer });
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
