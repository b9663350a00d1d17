// For tests: mints every certificate that a good or an evil authority could, and the identities and folders made of them.
// Certificates are built with @peculiar/x509, so that a test's idea of a certificate never comes from the code it tests.
// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 needs its side effect before it is loaded.
import "reflect-metadata";
import { KeyObject, X509Certificate, createPrivateKey, createPublicKey, randomBytes, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain, trustDomainId } from "@culvert/shared/identity/spiffe-id.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";

/** Kinds of key that a certificate can be made with. */
export type KeyKind = "P-256" | "P-384" | "Ed25519" | "RSA-2048" | "RSA-1024";

/** Key usages by their names in RFC 5280. */
type KeyUsageName = Exclude<keyof typeof x509.KeyUsageFlags, number>;

/** Who signs: a certificate with its private key. */
export interface Issuer {
  readonly certificate: x509.X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
  /** What a certificate of this issuer must carry above itself: intermediates, nearest first, without the root. */
  readonly above: readonly x509.X509Certificate[];
}

/** A minted certificate in the forms that tests need. */
export interface Minted extends Issuer {
  readonly leaf: X509Certificate;
  /** Leaf, then intermediates. */
  readonly chain: readonly X509Certificate[];
  readonly chainPem: string;
  readonly keyPem: string;
}

/** An extension by its bytes. */
interface RawExtension {
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Uint8Array<ArrayBuffer>;
}

/** What a certificate says; each absent field has the value of a good SVID. */
export interface CertificateSpec {
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  readonly emails?: readonly string[];
  readonly ips?: readonly string[];
  /** The whole subjectAltName extension value, for what no library would write. Replaces `uris`, `dns`, `emails`, `ips`. */
  readonly rawSubjectAltName?: Uint8Array<ArrayBuffer>;
  readonly subject?: string;
  /** Basic constraints; absent: not a CA, no extension. */
  readonly ca?: { readonly pathLength?: number };
  /** Key usages; empty leaves the extension out. */
  readonly keyUsage?: readonly KeyUsageName[];
  /** Extended key usage OIDs; empty leaves the extension out. */
  readonly extendedKeyUsage?: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly key?: KeyKind;
  /** Keys to certify instead of new ones. */
  readonly keys?: webcrypto.CryptoKeyPair;
  readonly hash?: "SHA-1" | "SHA-256" | "SHA-384";
  /** Further extensions; `value` is the DER inside the octet string. */
  readonly extensions?: readonly RawExtension[];
}

/** A root and an intermediate for one trust domain. */
export interface TestAuthority {
  readonly trustDomain: TrustDomain;
  readonly root: Issuer;
  readonly intermediate: Issuer;
  readonly bundlePem: string;
}

export const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
export const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
export const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const KEY_ALGORITHMS: Readonly<
  Record<KeyKind, webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams | "Ed25519">
> = {
  "P-256": { name: "ECDSA", namedCurve: "P-256" },
  "P-384": { name: "ECDSA", namedCurve: "P-384" },
  Ed25519: "Ed25519",
  "RSA-2048": rsa(2048),
  "RSA-1024": rsa(1024),
};

/** Makes a root and an intermediate (path length 0), as `authority init` would, valid from an hour ago for ten years. */
export async function testAuthority(name = "culvert.test", intermediate: CertificateSpec = {}): Promise<TestAuthority> {
  const trustDomain = parseTrustDomain(name);
  if (isFailure(trustDomain)) throw new Error(trustDomain.toString());
  const root = await mint(undefined, {
    ...caSpec(`CN=Root of ${name}`, trustDomain),
    ca: {},
  });
  const middle = await mint(root, { ...caSpec(`CN=Intermediate of ${name}`, trustDomain), ...intermediate });
  return { trustDomain, root, intermediate: middle, bundlePem: pemOf([root.certificate]) };
}

/** A certificate for `id` with everything as it should be, but for what `spec` says otherwise. */
export async function mintSvid(authority: TestAuthority, id: string, spec: CertificateSpec = {}): Promise<Minted> {
  return mint(authority.intermediate, { uris: [id], ...spec });
}

/** Who signs with a P-256 key that lies in a file beside its certificate. */
export async function issuerFromPem(certificatePem: string, keyPem: string): Promise<Issuer> {
  const certificate = new x509.X509Certificate(certificatePem);
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const privateKey = createPrivateKey(keyPem).toCryptoKey(algorithm, true, ["sign"]);
  const publicKey = createPublicKey(keyPem).toCryptoKey(algorithm, true, ["verify"]);
  return { certificate, keys: { privateKey, publicKey }, above: [certificate] };
}

/** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>` of an authority. */
export function svidName(authority: TestAuthority, namespace: string, serviceAccount: string): string {
  return `${trustDomainId(authority.trustDomain)}/ns/${namespace}/sa/${serviceAccount}`;
}

/** Mints one certificate signed by `issuer`, or by itself when there is none. */
export async function mint(issuer: Issuer | undefined, spec: CertificateSpec): Promise<Minted> {
  const keys = spec.keys ?? (await generateKeys(spec.key ?? "P-256"));
  const signer = issuer?.keys ?? keys;
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: randomBytes(16).toString("hex"),
      subject: spec.subject ?? "",
      issuer: issuer?.certificate.subject ?? spec.subject ?? "",
      notBefore: spec.notBefore ?? new Date(Date.now() - HOUR_MS),
      notAfter: spec.notAfter ?? new Date(Date.now() + DAY_MS),
      publicKey: keys.publicKey,
      signingKey: signer.privateKey,
      signingAlgorithm: signingAlgorithm(signer.privateKey, spec.hash ?? "SHA-256"),
      extensions: await extensionsOf(issuer, spec, keys.publicKey),
    },
    webcrypto,
  );
  const above = issuer === undefined ? [] : issuer.above;
  const selfAndAbove = [certificate, ...above];
  return {
    certificate,
    keys,
    above: issuer === undefined ? [] : selfAndAbove,
    leaf: new X509Certificate(Buffer.from(certificate.rawData)),
    chain: selfAndAbove.map((each) => new X509Certificate(Buffer.from(each.rawData))),
    chainPem: pemOf(selfAndAbove),
    keyPem: KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }),
  };
}

/** Certificates as PEM, in order. */
function pemOf(certificates: readonly x509.X509Certificate[]): string {
  return certificates.map((certificate) => `${certificate.toString("pem")}\n`).join("");
}

function caSpec(subject: string, trustDomain: TrustDomain): CertificateSpec {
  return {
    subject,
    uris: [trustDomainId(trustDomain)],
    ca: { pathLength: 0 },
    keyUsage: ["keyCertSign", "cRLSign"],
    extendedKeyUsage: [],
    notAfter: new Date(Date.now() + 3650 * DAY_MS),
  };
}

async function extensionsOf(
  issuer: Issuer | undefined,
  spec: CertificateSpec,
  publicKey: webcrypto.CryptoKey,
): Promise<x509.Extension[]> {
  const critical = true;
  const usages = spec.keyUsage ?? ["digitalSignature"];
  const extendedUsage = spec.extendedKeyUsage ?? [SERVER_AUTH, CLIENT_AUTH];
  const names: x509.JsonGeneralName[] = [
    ...(spec.uris ?? []).map((value) => ({ type: "url" as const, value })),
    ...(spec.dns ?? []).map((value) => ({ type: "dns" as const, value })),
    ...(spec.emails ?? []).map((value) => ({ type: "email" as const, value })),
    ...(spec.ips ?? []).map((value) => ({ type: "ip" as const, value })),
  ];
  const extensions: x509.Extension[] = [await x509.SubjectKeyIdentifierExtension.create(publicKey)];
  if (issuer !== undefined) {
    extensions.push(await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey));
  }
  if (spec.ca !== undefined) extensions.push(new x509.BasicConstraintsExtension(true, spec.ca.pathLength, critical));
  if (usages.length > 0) extensions.push(new x509.KeyUsagesExtension(usageFlags(usages), critical));
  if (extendedUsage.length > 0) extensions.push(new x509.ExtendedKeyUsageExtension([...extendedUsage]));
  if (spec.rawSubjectAltName !== undefined) {
    extensions.push(new x509.Extension("2.5.29.17", critical, spec.rawSubjectAltName));
  } else if (names.length > 0) {
    extensions.push(new x509.SubjectAlternativeNameExtension(names, critical));
  }
  const further = (spec.extensions ?? []).map((each) => new x509.Extension(each.oid, each.critical, each.value));
  return [...extensions, ...further];
}

function usageFlags(names: readonly KeyUsageName[]): x509.KeyUsageFlags {
  let flags = 0;
  for (const name of names) flags |= x509.KeyUsageFlags[name];
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- a union of flags is a number that the enum does not name.
  return flags;
}

async function generateKeys(kind: KeyKind): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(KEY_ALGORITHMS[kind], true, [
    "sign",
    "verify",
  ])) as webcrypto.CryptoKeyPair;
}

function signingAlgorithm(
  key: webcrypto.CryptoKey,
  hash: string,
): x509.X509CertificateCreateParamsBase["signingAlgorithm"] {
  if (key.algorithm.name === "ECDSA") return { name: "ECDSA", hash };
  return { name: key.algorithm.name, hash } as never;
}

function rsa(modulusLength: number): webcrypto.RsaHashedKeyGenParams {
  return { name: "RSASSA-PKCS1-v1_5", modulusLength, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
}
