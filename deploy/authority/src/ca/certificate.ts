// Machine. Mints certificates: the only file of the product that loads @peculiar/x509, and only when something is minted.
import { KeyObject, createPrivateKey, createPublicKey, randomBytes, webcrypto } from "node:crypto";
import type * as X509 from "@peculiar/x509";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";

/** A certificate and its private key, as PEM. */
export interface CertificateAndKey {
  readonly certificatePem: string;
  /** PKCS #8. */
  readonly keyPem: string;
}

/** What a certificate says. Times are milliseconds since the epoch, whole seconds of them. */
export interface CertificateRequest {
  /** A distinguished name; empty for SVIDs. */
  readonly subject: string;
  /** The one URI name. */
  readonly uri: string;
  /** A CA with this path length (undefined: no limit), or a leaf. */
  readonly role: { readonly kind: "ca"; readonly pathLength: number | undefined } | { readonly kind: "leaf" };
  readonly notBefore: number;
  readonly notAfter: number;
  /** Who signs; the certificate itself when there is none. */
  readonly issuer?: CertificateAndKey;
  /** The key to certify; a new one when there is none. */
  readonly keyPem?: string;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNATURE = { name: "ECDSA", hash: "SHA-256" } as const;
const SERIAL_BYTES = 16;

/** Loads the library, which wants the metadata polyfill to be there first. */
export async function loadX509(): Promise<typeof X509> {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

/** Mints one certificate: P-256, random serial number of 128 bits, key identifiers, critical name and usages. */
export async function mintCertificate(request: CertificateRequest): Promise<CertificateAndKey> {
  const x509 = await loadX509();
  const keys = request.keyPem === undefined ? await generateKeys() : importKeys(request.keyPem);
  const { issuer } = request;
  const signer = issuer === undefined ? keys : importKeys(issuer.keyPem);
  const isCa = request.role.kind === "ca";
  const pathLength = request.role.kind === "ca" ? request.role.pathLength : undefined;
  const critical = true;
  const usages = isCa
    ? [x509.KeyUsageFlags.keyCertSign, x509.KeyUsageFlags.cRLSign]
    : [x509.KeyUsageFlags.digitalSignature];
  const extensions: X509.Extension[] = [
    new x509.BasicConstraintsExtension(isCa, pathLength, critical),
    new x509.KeyUsagesExtension(
      usages.reduce((all, each) => all | each),
      critical,
    ),
    new x509.SubjectAlternativeNameExtension([{ type: "url", value: request.uri }], critical),
    await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    await x509.AuthorityKeyIdentifierExtension.create(signer.publicKey),
  ];
  if (!isCa) {
    const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
    extensions.push(new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]));
  }
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: randomBytes(SERIAL_BYTES).toString("hex"),
      subject: request.subject,
      issuer: issuer === undefined ? request.subject : new x509.X509Certificate(issuer.certificatePem).subject,
      notBefore: new Date(request.notBefore),
      notAfter: new Date(request.notAfter),
      publicKey: keys.publicKey,
      signingKey: signer.privateKey,
      signingAlgorithm: SIGNATURE,
      extensions,
    },
    webcrypto,
  );
  return {
    certificatePem: `${certificate.toString("pem")}\n`,
    keyPem: KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }),
  };
}

/** The subject of one of an authority's certificates; the random part keeps authorities of one name apart. */
export function authoritySubject(part: "root" | "intermediate", trustDomain: TrustDomain): string {
  // A common name holds at most 64 characters (RFC 5280 appendix A.1), a trust domain 255; whole it stands in the URI name.
  const name = trustDomain.length > 32 ? `${trustDomain.slice(0, 31)}_` : trustDomain;
  return `CN=${name} ${part} ${randomBytes(4).toString("hex")}, O=Culvert`;
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

function importKeys(keyPem: string): webcrypto.CryptoKeyPair {
  const key = createPrivateKey(keyPem);
  return {
    privateKey: key.toCryptoKey(ALGORITHM, true, ["sign"]),
    publicKey: createPublicKey(key).toCryptoKey(ALGORITHM, true, ["verify"]),
  };
}
