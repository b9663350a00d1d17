// Machine. The certificate authority of one trust domain: makes itself, issues SVIDs, renews its intermediate. Holds no file.
import { X509Certificate, generateKeyPairSync } from "node:crypto";
import { fail } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { trustDomainId, trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { authoritySubject, mintCertificate } from "./certificate.ts";
import type { CertificateAndKey } from "./certificate.ts";
import { signLeaf } from "./leaf.ts";

/** What signs for a trust domain: a root, and an intermediate with its key. */
export interface CertificateAuthority {
  readonly trustDomain: TrustDomain;
  readonly root: {
    readonly certificatePem: string;
    /** Needed to renew the intermediate only; undefined where the root is kept elsewhere, which then renews it. */
    readonly keyPem: string | undefined;
  };
  readonly intermediate: CertificateAndKey;
  /** What stands between intermediate and root, PEM, upwards; empty in authorities that were made here. */
  readonly upperPem: string;
}

/** What a workload needs, as the three files of an identity folder. */
export interface IssuedSvid {
  readonly id: SpiffeId;
  /** Upper-case hex. */
  readonly serial: string;
  /** Leaf, then intermediate. */
  readonly svidPem: string;
  readonly keyPem: string;
  readonly bundlePem: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

const SECOND_MS = 1000;
const DAY_MS = 86_400 * SECOND_MS;

const ROOT_LIFE_MS = 3650 * DAY_MS;
const INTERMEDIATE_LIFE_MS = 365 * DAY_MS;
/** Clocks differ a little; a certificate is used the moment that it is there. */
const BACKDATED_MS = 60 * SECOND_MS;

/** The shortest life of an SVID: less would be over before a slow clock sees it begin. */
export const MIN_SVID_LIFE_MS = 60 * SECOND_MS;
/** The longest: a stolen key is good for as long. */
export const MAX_SVID_LIFE_MS = 90 * DAY_MS;

/** Makes a root of ten years and an intermediate of one, valid from `now` (milliseconds since the epoch). */
export async function createAuthority(trustDomain: TrustDomain, now: number): Promise<CertificateAuthority> {
  const root = await mintCertificate({
    subject: authoritySubject("root", trustDomain),
    uri: trustDomainId(trustDomain),
    // One CA certificate below it, the intermediate, and no more.
    role: { kind: "ca", pathLength: 1 },
    ...validity(now, ROOT_LIFE_MS),
  });
  return createBelow(trustDomain, root, now);
}

/** Makes an intermediate of one year below a root. */
export async function createBelow(
  trustDomain: TrustDomain,
  root: CertificateAndKey,
  now: number,
): Promise<CertificateAuthority> {
  return { trustDomain, root, intermediate: await mintIntermediate(trustDomain, root, undefined, now), upperPem: "" };
}

/**
 * The same authority with a new certificate for the intermediate's key when the old one would not outlive an SVID issued at
 * `now`; itself when it would. The key stays, so certificates issued before stay valid under either.
 */
export async function renewIntermediate(authority: CertificateAuthority, now: number): Promise<CertificateAuthority> {
  const { trustDomain, root, intermediate } = authority;
  const { certificatePem, keyPem } = root;
  if (keyPem === undefined || endOf(intermediate) >= now + MAX_SVID_LIFE_MS) return authority;
  // Nothing longer can be had of this root.
  if (endOf(intermediate) >= endOf(root)) return authority;
  const renewed = await mintIntermediate(trustDomain, { certificatePem, keyPem }, intermediate, now);
  return { ...authority, intermediate: renewed };
}

/** What stands between a leaf and its root, PEM, the intermediate that signs first. */
export function chainOf({ intermediate, upperPem }: CertificateAuthority): string {
  return intermediate.certificatePem + upperPem;
}

/** When the first of the certificates above a leaf ends, milliseconds since the epoch. */
export function endOfChain(authority: CertificateAuthority): number {
  const pems = [authority.root.certificatePem, ...blocksOf(chainOf(authority))];
  return Math.min(...pems.map((certificatePem) => endOf({ certificatePem })));
}

/**
 * Issues an SVID with a new key, valid for `lifeMs` from `now`. Fails with IDENTITY_MALFORMED for an ID of another trust domain
 * and with IDENTITY_EXPIRED when the authority would end before it. Lives outside of `MIN_SVID_LIFE_MS` to `MAX_SVID_LIFE_MS`
 * are a programming error.
 */
export function issueSvid(
  authority: CertificateAuthority,
  id: SpiffeId,
  lifeMs: number,
  now: number,
): IssuedSvid | Failure {
  if (!(lifeMs >= MIN_SVID_LIFE_MS && lifeMs <= MAX_SVID_LIFE_MS)) throw new RangeError(`a life of ${lifeMs} ms`);
  if (trustDomainOf(id) !== authority.trustDomain) {
    return fail("IDENTITY_MALFORMED", `${id} is not in the trust domain ${authority.trustDomain}`);
  }
  const { notBefore, notAfter } = validity(now, lifeMs);
  const end = endOfChain(authority);
  if (notAfter > end) {
    return fail(
      "IDENTITY_EXPIRED",
      `the authority ends at ${new Date(end).toISOString()}, before the certificate would`,
    );
  }
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const certificatePem = signLeaf(authority.intermediate, { uri: id, publicKey, notBefore, notAfter });
  return {
    id,
    serial: new X509Certificate(certificatePem).serialNumber,
    svidPem: certificatePem + chainOf(authority),
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }),
    bundlePem: authority.root.certificatePem,
    notAfter,
  };
}

async function mintIntermediate(
  trustDomain: TrustDomain,
  root: CertificateAndKey,
  old: CertificateAndKey | undefined,
  now: number,
): Promise<CertificateAndKey> {
  const { notBefore, notAfter } = validity(now, INTERMEDIATE_LIFE_MS);
  return mintCertificate({
    // The same name for the same key: what the old certificate has signed chains to the new one.
    subject: old === undefined ? authoritySubject("intermediate", trustDomain) : subjectOf(old),
    uri: trustDomainId(trustDomain),
    role: { kind: "ca", pathLength: 0 },
    notBefore,
    notAfter: Math.min(notAfter, endOf(root)),
    issuer: root,
    ...(old === undefined ? {} : { keyPem: old.keyPem }),
  });
}

/** Certificates count in seconds. */
function validity(now: number, lifeMs: number): { readonly notBefore: number; readonly notAfter: number } {
  const second = Math.floor(now / SECOND_MS) * SECOND_MS;
  return { notBefore: second - BACKDATED_MS, notAfter: second + lifeMs };
}

/** The certificates of a PEM text that was written here. */
export function blocksOf(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?/g) ?? [];
}

function endOf({ certificatePem }: { readonly certificatePem: string }): number {
  return new X509Certificate(certificatePem).validToDate.getTime();
}

/** OpenSSL writes one part of a name a line; the order is that of the certificate. */
function subjectOf({ certificatePem }: CertificateAndKey): string {
  return (new X509Certificate(certificatePem).subject ?? "").split("\n").join(", ");
}
