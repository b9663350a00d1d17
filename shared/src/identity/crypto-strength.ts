// Pure. Which keys and signatures are strong enough to stand for an identity.
import type { KeyObject, X509Certificate } from "node:crypto";

/** The curves of TLS 1.3 with 128 bits of strength or more (RFC 8446 section 4.2.3). */
const CURVES: ReadonlySet<string> = new Set(["prime256v1", "secp384r1", "secp521r1"]);
const MIN_RSA_BITS = 2048;

/** ECDSA and RSA (PKCS #1) with SHA-2, and Ed25519. RSASSA-PSS is absent: its hash hides in parameters, nobody issues it. */
const SIGNATURES: ReadonlySet<string> = new Set([
  "1.2.840.10045.4.3.2",
  "1.2.840.10045.4.3.3",
  "1.2.840.10045.4.3.4",
  "1.2.840.113549.1.1.11",
  "1.2.840.113549.1.1.12",
  "1.2.840.113549.1.1.13",
  "1.3.101.112",
]);

/** What makes a public key unfit, or undefined. */
export function keyWeakness(key: KeyObject): string | undefined {
  const type = key.asymmetricKeyType;
  const { namedCurve = "without a name", modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  if (type === "ed25519") return undefined;
  if (type === "ec") return CURVES.has(namedCurve) ? undefined : `curve ${namedCurve} is not accepted`;
  if (type !== "rsa") return `a key of type ${type ?? "unknown"} is not accepted`;
  return modulusLength >= MIN_RSA_BITS ? undefined : `an RSA key of ${modulusLength} bits is too weak`;
}

/** What makes the signature on a certificate unfit, or undefined. */
export function signatureWeakness(certificate: X509Certificate): string | undefined {
  const oid = certificate.signatureAlgorithmOid;
  return SIGNATURES.has(oid)
    ? undefined
    : `signature algorithm ${certificate.signatureAlgorithm ?? oid} is not accepted`;
}

/** The public key of a certificate; undefined when OpenSSL cannot read it. */
export function publicKeyOf(certificate: X509Certificate): KeyObject | undefined {
  try {
    return certificate.publicKey;
  } catch {
    return undefined;
  }
}
