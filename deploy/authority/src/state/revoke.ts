// Machine. Revokes certificates, by serial number or all of an identity that are alive.
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { MAX_SVID_LIFE_MS } from "../ca/certificate-authority.ts";
import type { RevocationReason } from "../ca/crl.ts";
import { mayRevoke } from "../ca/imported-ca.ts";
import { tidyFolder } from "./authority-folder.ts";
import { whileLocked } from "./folder-lock.ts";
import { readIssued } from "./issued-log.ts";
import type { IssuedEntry } from "./issued-log.ts";
import { normalSerial, readRevoked, refreshRevocations } from "./revocation-store.ts";
import type { Revoked } from "./revocation-store.ts";

/** What is to be revoked: one certificate, or all of an identity. */
export type RevocationSubject = { readonly serial: string } | { readonly id: string };

const SECOND_MS = 1_000;

/**
 * Revokes, and returns the serial numbers that are revoked by this and were not before. Fails with IDENTITY_UNAVAILABLE when there
 * is nothing to revoke, or it cannot be made known.
 */
export function revoke(
  folder: string,
  subject: RevocationSubject,
  options: { readonly reason: RevocationReason; readonly now: number },
): Promise<readonly string[] | Failure> {
  return whileLocked(folder, async () => {
    const { now } = options;
    const roots = await tidyFolder(folder);
    if (isFailure(roots)) return roots;
    const issued = await readIssued(folder, now);
    if (isFailure(issued)) return issued;
    const record = await readRevoked(folder);
    if (isFailure(record)) return record;
    const wanted = "id" in subject ? ofIdentity(issued, subject.id) : ofSerial(issued, subject.serial, now);
    if (isFailure(wanted)) return wanted;
    const mute = roots.all.filter(({ authority }) => !mayRevoke(authority)).map(({ id }) => id);
    const isUnsayable = ({ rootId }: Wanted): boolean =>
      rootId === undefined ? mute.length === roots.all.length : mute.includes(rootId);
    if (wanted.some(isUnsayable)) {
      return fail(
        "IDENTITY_UNAVAILABLE",
        `the intermediate of root ${mute.join(", ")} may not sign revocation lists (no cRLSign); use one that may`,
      );
    }
    const known = new Set(record?.revoked.map(({ serial }) => serial));
    const revokedAt = Math.floor(now / SECOND_MS) * SECOND_MS;
    const { reason } = options;
    const fresh = wanted
      .filter(({ serial }) => !known.has(serial))
      .map((each): Revoked => Object.assign(each, { revokedAt, reason }));
    const refreshed = await refreshRevocations(folder, roots, now, fresh);
    return isFailure(refreshed) ? refreshed : fresh.map(({ serial }) => serial);
  });
}

type Wanted = Omit<Revoked, "revokedAt" | "reason">;

function ofIdentity(issued: readonly IssuedEntry[], id: string): readonly Wanted[] | Failure {
  const own = issued.filter((each) => each.id === id).flatMap(wantedOf);
  return own.length > 0 ? own : fail("IDENTITY_UNAVAILABLE", `no certificate of ${id} that was issued here is alive`);
}

function ofSerial(issued: readonly IssuedEntry[], text: string, now: number): readonly Wanted[] | Failure {
  const serial = normalSerial(text);
  if (serial === undefined) {
    return fail("IDENTITY_UNAVAILABLE", `${JSON.stringify(text.slice(0, 80))} is not a serial number in hex`);
  }
  const own = issued.flatMap(wantedOf).filter((each) => each.serial === serial);
  // Another authority over the same intermediate may have issued it; it is on a list for as long as it could live.
  return own.length > 0 ? own : [{ serial, notAfter: now + MAX_SVID_LIFE_MS }];
}

function wantedOf({ serial, rootId, id, notAfter }: IssuedEntry): readonly Wanted[] {
  const normal = normalSerial(serial);
  return normal === undefined ? [] : [{ serial: normal, rootId, id, notAfter }];
}
