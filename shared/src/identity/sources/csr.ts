// Pure. A certificate signing request (PKCS #10, RFC 2986) for a key of our own, as Istio's agents write it: P-256, an empty
// subject and, where the identity is known, its SPIFFE ID as the one critical URI name. A library would cost more memory than all
// that a uproxy holds for its tunnels.
import { generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { derBitString, derElement, derExtension, derInteger, derOid, derSequence } from "../der-writer.ts";
import type { SpiffeId } from "../spiffe-id.ts";

/** A new key and the request that proves its possession. */
export interface KeyAndRequest {
  /** PKCS #8, PEM. */
  readonly keyPem: string;
  /** PEM. */
  readonly csrPem: string;
}

const SET = 0x31;
/** `[0]`, constructed: the attributes of a request. */
const ATTRIBUTES = 0xa0;
/** `[6]`: a URI among the alternative names. */
const URI = 0x86;

const EXTENSION_REQUEST = derOid("2a864886f70d01090e");
const SUBJECT_ALT_NAME = "551d11";
const ECDSA_WITH_SHA256 = derSequence(derOid("2a8648ce3d040302"));
const VERSION_1 = derInteger(Buffer.of(0));

/** Makes a key and a request for it. Without `id` the request names nobody: who we are is decided by what we prove. */
export function newKeyAndRequest(id: SpiffeId | undefined): KeyAndRequest {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }),
    csrPem: pem(requestOf(privateKey, publicKey, id)),
  };
}

function requestOf(privateKey: KeyObject, publicKey: KeyObject, id: SpiffeId | undefined): Buffer {
  const info = derSequence(
    VERSION_1,
    derSequence(),
    publicKey.export({ type: "spki", format: "der" }),
    derElement(ATTRIBUTES, ...(id === undefined ? [] : [namesAttribute(id)])),
  );
  return derSequence(info, ECDSA_WITH_SHA256, derBitString(sign("sha256", info, privateKey)));
}

function namesAttribute(id: SpiffeId): Buffer {
  const names = derExtension(SUBJECT_ALT_NAME, true, derSequence(derElement(URI, Buffer.from(id))));
  return derSequence(EXTENSION_REQUEST, derElement(SET, derSequence(names)));
}

function pem(bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join("\n")}\n-----END CERTIFICATE REQUEST-----\n`;
}
