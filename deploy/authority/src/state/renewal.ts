// Machine. What the time alone makes due in the folder of an authority: intermediates that end, lists that get old, lines of what
// has expired.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { renewIntermediate } from "../ca/certificate-authority.ts";
import { readRoots, writeIntermediate } from "./authority-folder.ts";
import type { Root, Roots } from "./authority-folder.ts";
import { whileLocked } from "./folder-lock.ts";
import { compactIssued } from "./issued-log.ts";
import { isRefreshDue, refreshRevocations } from "./revocation-store.ts";

/** Signs lists that are due; on a round also renews what ends and drops what has expired. Fails with IDENTITY_UNAVAILABLE. */
export async function careFor(folder: string, now: number, isRound: boolean): Promise<undefined | Failure> {
  const roots = await readRoots(folder);
  if (isFailure(roots)) return roots;
  const isDue = await isRefreshDue(folder, roots, now);
  if (isFailure(isDue)) return isDue;
  if (!isDue && !isRound) return undefined;
  return whileLocked(folder, async () => {
    const refused = await refreshUnderLock(folder, now);
    return refused === undefined && isRound ? compactIssued(folder, now) : refused;
  });
}

/** Renews what ends and signs lists that are due. To be called under the lock for writing. Fails with IDENTITY_UNAVAILABLE. */
export async function refreshUnderLock(folder: string, now: number): Promise<Failure | undefined> {
  const renewed = await renewIntermediates(folder, now);
  if (isFailure(renewed)) return renewed;
  const refreshed = await refreshRevocations(folder, renewed, now);
  return isFailure(refreshed) ? refreshed : undefined;
}

/** The roots of a folder, their intermediates renewed where that is due. To be called under the lock for writing. */
export async function renewIntermediates(folder: string, now: number): Promise<Roots | Failure> {
  const roots = await readRoots(folder);
  if (isFailure(roots)) return roots;
  const all: Root[] = [];
  for (const root of roots.all) {
    const renewed = { ...root, authority: await renewIntermediate(root.authority, now) };
    const isSame = renewed.authority === root.authority;
    const unwritten = isSame ? undefined : await writeIntermediate(folder, renewed);
    if (unwritten !== undefined) return unwritten;
    all.push(isSame ? root : renewed);
  }
  return { ...roots, all, signing: all.find(({ id }) => id === roots.signing.id) ?? roots.signing };
}
