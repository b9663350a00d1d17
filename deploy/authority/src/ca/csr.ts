// Pure. Certificate signing requests (PKCS #10, RFC 2986): the one thing that is taken from them, a public key whose owner has
// signed the request. Names, extensions and attributes are not looked at, for identity comes from the proof alone. Read with our
// own bounded reader and OpenSSL: the library that mints would take 3 ms and much more code for what anybody may send.
import { createPublicKey, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { DER, contentOf, readChildren, readElement } from "@culvert/shared/identity/der.ts";
import type { DerElement } from "@culvert/shared/identity/der.ts";

/** Ten times what an agent sends, with a key of 4,096 bits and some extensions. */
export const MAX_CSR_BYTES = 16 * 1024;
/** More attributes than that are never sent; they are counted, not read. */
const MAX_ATTRIBUTES = 64;

const PEM =
  /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----\s([A-Za-z0-9+/=\s]*)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/;

/** Curves of keys that are certified, by OpenSSL's name: what every TLS library of a mesh has, ztunnel's and Envoy's included. */
const CURVES: ReadonlySet<string> = new Set(["prime256v1", "secp384r1"]);

/** Signature algorithms of a request (ECDSA with SHA-2), by the hex of their OID, with the digest. */
const DIGESTS: ReadonlyMap<string, string> = new Map([
  ["2a8648ce3d040302", "sha256"],
  ["2a8648ce3d040303", "sha384"],
  ["2a8648ce3d040304", "sha512"],
]);

/** The parts of a request that are read. */
interface Parts {
  /** What is signed. */
  readonly info: Uint8Array;
  readonly spki: Uint8Array;
  readonly algorithm: string;
  readonly signature: Uint8Array;
}

/**
 * The public key of a request, proven to be its sender's. Fails with CSR_REFUSED: not one PEM block of at most `MAX_CSR_BYTES`
 * with a PKCS #10 request, a key other than P-256 or P-384, a signature that is not that key's.
 */
export function publicKeyOfCsr(pem: string): KeyObject | Failure {
  if (pem.length > MAX_CSR_BYTES) return refused(`larger than ${MAX_CSR_BYTES} bytes`);
  const base64 = PEM.exec(pem)?.[1];
  if (base64 === undefined) return refused("not one PEM block of type CERTIFICATE REQUEST");
  const parts = partsOf(Buffer.from(base64, "base64"));
  if (parts === undefined) return refused("not a PKCS #10 request");
  const key = keyOf(parts.spki);
  if (isFailure(key)) return key;
  const digest = DIGESTS.get(parts.algorithm);
  if (digest === undefined) return refused("signed by another algorithm than ECDSA with SHA-2");
  return isSigned(parts, digest, key) ? key : refused("the signature is not that of its key");
}

/** CertificationRequest ::= SEQUENCE { info SEQUENCE { version, subject, spki, [0] attributes }, algorithm, signature }. */
function partsOf(der: Uint8Array): Parts | undefined {
  const request = readElement(der, 0, der.length);
  if (request?.tag !== DER.sequence || request.end !== der.length) return undefined;
  const [info, algorithm, signature, ...rest] = readChildren(der, request, 3) ?? [];
  if (info?.tag !== DER.sequence || algorithm?.tag !== DER.sequence || rest.length > 0) return undefined;
  const [version, subject, spki, attributes] = readChildren(der, info, 4) ?? [];
  if (version?.tag !== DER.integer || subject?.tag !== DER.sequence || spki?.tag !== DER.sequence) return undefined;
  // Absent where an encoder leaves out an empty set.
  if (attributes !== undefined && readChildren(der, attributes, MAX_ATTRIBUTES) === undefined) return undefined;
  const [oid] = readChildren(der, algorithm, 2) ?? [];
  if (oid?.tag !== DER.oid || signature?.tag !== DER.bitString || der[signature.start] !== 0) return undefined;
  return {
    info: wholeOf(der, info),
    spki: wholeOf(der, spki),
    algorithm: Buffer.from(contentOf(der, oid)).toString("hex"),
    // Its first octet counts the bits that are not used: none.
    signature: contentOf(der, signature).subarray(1),
  };
}

function wholeOf(der: Uint8Array, element: DerElement): Uint8Array {
  return der.subarray(element.from, element.end);
}

function keyOf(spki: Uint8Array): KeyObject | Failure {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch {
    return refused("the public key cannot be read");
  }
  const curve = key.asymmetricKeyDetails?.namedCurve ?? "";
  if (key.asymmetricKeyType === "ec" && CURVES.has(curve)) return key;
  const found =
    key.asymmetricKeyType === "ec" ? `a key on ${curve || "a curve without a name"}` : key.asymmetricKeyType;
  return refused(`expected a key on P-256 or P-384, found ${found}`);
}

function isSigned(parts: Parts, digest: string, key: KeyObject): boolean {
  try {
    return verify(digest, parts.info, key, parts.signature);
  } catch {
    return false;
  }
}

function refused(detail: string): Failure {
  return fail("CSR_REFUSED", detail);
}
