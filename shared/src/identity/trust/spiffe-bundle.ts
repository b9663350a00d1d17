// Pure. Reads the document of a bundle endpoint: a JWK set with the roots of one trust domain (SPIFFE Trust Domain and Bundle
// section 4, X509-SVID section 6).
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { bundleFromDer } from "../bundle.ts";
import type { Bundle } from "../source.ts";
import type { TrustDomain } from "../spiffe-id.ts";

/** What a bundle endpoint says. */
export interface BundleDocument {
  /** `undefined`: the trust domain has taken back all of its X.509 roots. */
  readonly bundle: Bundle | undefined;
  /** Grows with each change of the document; above 2^53 its last digits are lost, which makes two numbers equal at worst. */
  readonly sequence: number | undefined;
  /** After how many milliseconds the document should be asked for again. */
  readonly refreshMs: number | undefined;
}

const MAX_KEYS = 256;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** Reads a document. Keys of other uses than X.509-SVIDs are ignored. Fails with IDENTITY_MALFORMED. */
export function bundleDocumentFrom(trustDomain: TrustDomain, text: string): BundleDocument | Failure {
  const malformed = (what: string): Failure => fail("IDENTITY_MALFORMED", `bundle of ${trustDomain}: ${what}`);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return malformed("not JSON");
  }
  if (!isObject(document) || !Array.isArray(document["keys"])) return malformed("has no list `keys`");
  const { spiffe_sequence: sequence, spiffe_refresh_hint: hint } = document;
  for (const [name, value] of [
    ["spiffe_sequence", sequence],
    ["spiffe_refresh_hint", hint],
  ] as const) {
    if (value !== undefined && !isCount(value)) return malformed(`${name} is no whole number`);
  }
  const keys: readonly unknown[] = document["keys"];
  if (keys.length > MAX_KEYS) return malformed(`has more than ${MAX_KEYS} keys`);
  const roots: Uint8Array[] = [];
  for (const [index, key] of keys.entries()) {
    if (!isObject(key) || key["use"] !== "x509-svid" || key["kty"] === undefined) continue;
    const { x5c } = key;
    const [certificate, ...others]: readonly unknown[] = Array.isArray(x5c) ? x5c : [];
    if (typeof certificate !== "string" || others.length > 0 || !BASE64.test(certificate)) {
      return malformed(`keys[${index}].x5c must hold exactly one certificate in base64`);
    }
    roots.push(Buffer.from(certificate, "base64"));
  }
  const bundle = roots.length === 0 ? undefined : bundleFromDer(trustDomain, Buffer.concat(roots));
  if (isFailure(bundle)) return bundle;
  return {
    bundle,
    sequence: isCount(sequence) ? sequence : undefined,
    refreshMs: isCount(hint) && hint > 0 ? hint * 1000 : undefined,
  };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}
