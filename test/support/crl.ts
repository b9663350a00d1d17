// For tests: mints every revocation list that a good or an evil issuer could, with @peculiar/x509, so that a test's idea of a
// list never comes from the code that it tests.
// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 needs its side effect before it is loaded.
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import type { Issuer } from "./ca.ts";

/** What a list says; each absent field has the value of a good list. */
export interface CrlSpec {
  /** What is revoked. */
  readonly revoked?: readonly { readonly certificate: { readonly serialNumber: string } }[];
  /** Further serial numbers, hex. */
  readonly serials?: readonly string[];
  /** CRL number; `undefined` leaves the extension out. */
  readonly number?: number | undefined;
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
  /** Signed by other keys than the issuer's. */
  readonly keys?: webcrypto.CryptoKeyPair;
  readonly hash?: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512";
  readonly extensions?: readonly x509.Extension[];
  readonly entryExtensions?: readonly x509.Extension[];
}

const HOUR_MS = 3_600_000;

/** An extension by its bytes. */
export function rawExtension(oid: string, critical: boolean, value: readonly number[]): x509.Extension {
  return new x509.Extension(oid, critical, Uint8Array.from(value));
}

/** A list of `issuer`, as DER. */
export async function mintCrl(issuer: Issuer, spec: CrlSpec = {}): Promise<Buffer> {
  const { number = 1 } = spec;
  const serials = [...(spec.revoked ?? []).map(({ certificate }) => certificate.serialNumber), ...(spec.serials ?? [])];
  const isNumbered = !("number" in spec) || spec.number !== undefined;
  const crl = await x509.X509CrlGenerator.create(
    {
      issuer: issuer.certificate.subject,
      thisUpdate: spec.thisUpdate ?? new Date(Date.now() - HOUR_MS),
      nextUpdate: spec.nextUpdate ?? new Date(Date.now() + HOUR_MS),
      signingAlgorithm: { name: issuer.keys.privateKey.algorithm.name, hash: spec.hash ?? "SHA-256" },
      signingKey: (spec.keys ?? issuer.keys).privateKey,
      entries: serials.map((serialNumber) => ({
        serialNumber,
        revocationDate: new Date(),
        extensions: [...(spec.entryExtensions ?? [])],
      })),
      extensions: [
        await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey),
        ...(isNumbered ? [rawExtension("2.5.29.20", false, [0x02, 0x02, number >> 8, number & 0xff])] : []),
        ...(spec.extensions ?? []),
      ],
    },
    webcrypto,
  );
  return Buffer.from(crl.rawData);
}

/** Lists as PEM, in order. */
export function crlPem(...ders: readonly Buffer[]): string {
  return ders
    .map((der) => {
      const lines = der.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
      return `-----BEGIN X509 CRL-----\n${lines}\n-----END X509 CRL-----\n`;
    })
    .join("");
}
