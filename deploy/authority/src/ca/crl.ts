// Machine. Certificate revocation lists (RFC 5280 section 5) as this authority writes them, and what is needed of others'.
import { fail } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { derElement, derExtension, derInteger, derSequence, derTime } from "@culvert/shared/identity/der-writer.ts";
import { loadX509 } from "./certificate.ts";
import type { CertificateAndKey } from "./certificate.ts";
import { KEY_ID, pemText, signed, signerOf } from "./signer.ts";

/** Why something is revoked, as the field has numbered it (RFC 5280 section 5.3.1). */
export const REVOCATION_REASONS = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
} as const;

/** One of `REVOCATION_REASONS`. */
export type RevocationReason = keyof typeof REVOCATION_REASONS;

/** One line of a list. */
export interface RevokedEntry {
  /** Upper-case hex. */
  readonly serial: string;
  /** Milliseconds since the epoch, whole seconds of them. */
  readonly revokedAt: number;
  readonly reason: RevocationReason;
}

/** What a list says. Times are milliseconds since the epoch. */
export interface RevocationListSpec {
  readonly number: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly entries: readonly RevokedEntry[];
}

const OID = { crlNumber: "551d14", reasonCode: "551d15", authorityKeyId: "551d23" } as const;
const ENUMERATED = 0x0a;
const EXTENSIONS = 0xa0;
const VERSION_2 = derInteger(Buffer.of(1));

/** Signs a list, version 2, with its number and the identifier of the issuer's key; PEM. */
export function signRevocationList(issuer: CertificateAndKey, spec: RevocationListSpec): string {
  const signer = signerOf(issuer);
  const toSign = derSequence(
    VERSION_2,
    signer.scheme.identifier,
    signer.name,
    derTime(spec.thisUpdate),
    derTime(spec.nextUpdate),
    // An empty list of entries is left out (RFC 5280 section 5.1.2.6).
    spec.entries.length === 0 ? Buffer.of() : derSequence(...spec.entries.map(entryOf)),
    derElement(
      EXTENSIONS,
      derSequence(
        derExtension(OID.authorityKeyId, false, derSequence(derElement(KEY_ID, signer.keyId))),
        derExtension(OID.crlNumber, false, integerOf(spec.number)),
      ),
    ),
  );
  return pemText("X509 CRL", signed(signer, toSign));
}

/** The entries of a list, which has been read and proven before. Fails with IDENTITY_MALFORMED. */
export async function entriesOf(der: Uint8Array): Promise<readonly RevokedEntry[] | Failure> {
  const x509 = await loadX509();
  try {
    return new x509.X509Crl(Uint8Array.from(der)).entries.map(({ serialNumber, revocationDate, reason }) => ({
      serial: serialNumber.toUpperCase(),
      revokedAt: revocationDate.getTime(),
      reason: reasonOf(reason),
    }));
  } catch {
    return fail("IDENTITY_MALFORMED", "revocation list: an entry cannot be read");
  }
}

function entryOf({ serial, revokedAt, reason }: RevokedEntry): Buffer {
  const code = derElement(ENUMERATED, Buffer.of(REVOCATION_REASONS[reason]));
  return derSequence(
    derInteger(Buffer.from(serial.length % 2 === 0 ? serial : `0${serial}`, "hex")),
    derTime(revokedAt),
    // "Unspecified" is said by saying nothing (RFC 5280 section 5.3.1).
    reason === "unspecified" ? Buffer.of() : derSequence(derExtension(OID.reasonCode, false, code)),
  );
}

function integerOf(value: number): Buffer {
  const octets = Buffer.alloc(8);
  octets.writeBigUInt64BE(BigInt(value));
  return derInteger(octets);
}

function reasonOf(number: number | undefined): RevocationReason {
  for (const name of Object.keys(REVOCATION_REASONS) as RevocationReason[]) {
    if (REVOCATION_REASONS[name] === number) return name;
  }
  return "unspecified";
}
