// Pure. Certificates out of PEM (RFC 7468) and out of concatenated DER.
import { X509Certificate } from "node:crypto";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { readSeries } from "./der.ts";

/** More than any chain or bundle of one trust domain holds. */
const MAX_CERTIFICATES = 64;

const BEGIN = "-----BEGIN CERTIFICATE-----";
const BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** Reads every certificate of a PEM text, in order. `place` names the text in the failure, IDENTITY_MALFORMED. */
export function certificatesFromPem(pem: string, place: string): X509Certificate[] | Failure {
  const blocks = pem.match(BLOCK) ?? [];
  const begun = pem.split(BEGIN).length - 1;
  if (begun > blocks.length) return fail("IDENTITY_MALFORMED", `${place}: a certificate is cut short`);
  return parseAll(blocks, place);
}

/** Reads certificates that stand one after another as DER, as the SPIFFE Workload API sends them. */
export function certificatesFromDer(der: Uint8Array, place: string): X509Certificate[] | Failure {
  const elements = readSeries(der, 0, der.length, MAX_CERTIFICATES + 1);
  if (elements === undefined) return fail("IDENTITY_MALFORMED", `${place}: not a row of DER certificates`);
  return parseAll(
    elements.map((element) => der.subarray(element.from, element.end)),
    place,
  );
}

function parseAll(sources: readonly (string | Uint8Array)[], place: string): X509Certificate[] | Failure {
  if (sources.length === 0) return fail("IDENTITY_MALFORMED", `${place}: holds no certificate`);
  if (sources.length > MAX_CERTIFICATES) {
    return fail("IDENTITY_MALFORMED", `${place}: holds more than ${MAX_CERTIFICATES} certificates`);
  }
  const certificates: X509Certificate[] = [];
  for (const source of sources) {
    try {
      certificates.push(new X509Certificate(typeof source === "string" ? source : Buffer.from(source)));
    } catch {
      return fail("IDENTITY_MALFORMED", `${place}: certificate ${certificates.length + 1} cannot be read`);
    }
  }
  return certificates;
}

/** Certificates as one PEM text, in order. */
export function pemOf(certificates: readonly X509Certificate[]): string {
  return certificates.map((certificate) => certificate.toString()).join("");
}
