// Pure. A certificate signing request (PKCS #10, RFC 2986) for a key of our own, as Istio's agents write it: P-256, an empty
// subject and, where the identity is known, its SPIFFE ID as the one critical URI name. A library would cost more memory than all
// that a uproxy holds for its tunnels.
import { generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import type { SpiffeId } from "../spiffe-id.ts";

/** A new key and the request that proves its possession. */
export interface KeyAndRequest {
  /** PKCS #8, PEM. */
  readonly keyPem: string;
  /** PEM. */
  readonly csrPem: string;
}

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OID = 0x06;
/** `[0]`, constructed: the attributes of a request. */
const ATTRIBUTES = 0xa0;
/** `[6]`: a URI among the alternative names. */
const URI = 0x86;

const EXTENSION_REQUEST = der(OID, Buffer.from("2a864886f70d01090e", "hex"));
const SUBJECT_ALT_NAME = der(OID, Buffer.from("551d11", "hex"));
const ECDSA_WITH_SHA256 = der(SEQUENCE, der(OID, Buffer.from("2a8648ce3d040302", "hex")));
const TRUE = Buffer.from("0101ff", "hex");
const VERSION_1 = der(INTEGER, Buffer.from([0]));

/** Makes a key and a request for it. Without `id` the request names nobody: who we are is decided by what we prove. */
export function newKeyAndRequest(id: SpiffeId | undefined): KeyAndRequest {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }),
    csrPem: pem(requestOf(privateKey, publicKey, id)),
  };
}

function requestOf(privateKey: KeyObject, publicKey: KeyObject, id: SpiffeId | undefined): Buffer {
  const info = der(
    SEQUENCE,
    VERSION_1,
    der(SEQUENCE),
    publicKey.export({ type: "spki", format: "der" }),
    der(ATTRIBUTES, ...(id === undefined ? [] : [namesAttribute(id)])),
  );
  // A bit string begins with the number of bits that its last octet does not use.
  const signature = Buffer.concat([Buffer.from([0]), sign("sha256", info, privateKey)]);
  return der(SEQUENCE, info, ECDSA_WITH_SHA256, der(BIT_STRING, signature));
}

function namesAttribute(id: SpiffeId): Buffer {
  const names = der(SEQUENCE, der(URI, Buffer.from(id)));
  const extension = der(SEQUENCE, SUBJECT_ALT_NAME, TRUE, der(OCTET_STRING, names));
  return der(SEQUENCE, EXTENSION_REQUEST, der(SET, der(SEQUENCE, extension)));
}

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  // An ID has at most 2,048 octets, so two octets of length are always enough.
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

function pem(bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join("\n")}\n-----END CERTIFICATE REQUEST-----\n`;
}
