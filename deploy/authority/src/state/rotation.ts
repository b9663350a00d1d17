// Machine. The rotation of roots: one more is trusted, then it signs, then the old one is trusted no more. Each step looks at what
// is in use and says what it would break.
import { X509Certificate } from "node:crypto";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { CertificateAuthority } from "../ca/certificate-authority.ts";
import { objectionTo } from "../ca/imported-ca.ts";
import { MAX_ROOTS, rootOf, tidyFolder, writeIndex, writeIntermediate, writeRoot } from "./authority-folder.ts";
import type { Root, Roots } from "./authority-folder.ts";
import { whileLocked } from "./folder-lock.ts";
import { readIssued } from "./issued-log.ts";
import type { IssuedEntry } from "./issued-log.ts";
import { refreshRevocations } from "./revocation-store.ts";

/** How a step is to be done. */
export interface StepOptions {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Whether what is in use may break. */
  readonly force: boolean;
}

/**
 * Trusts one more root, which does not sign yet; of one that is there its renewed intermediate is taken. Fails with
 * IDENTITY_UNAVAILABLE, or as `make`, which is asked for the authority of this trust domain.
 */
export function addRoot(
  folder: string,
  make: (trustDomain: TrustDomain) => Promise<CertificateAuthority | Failure>,
  now: number,
): Promise<{ readonly root: Root; readonly isNew: boolean } | Failure> {
  return changing(folder, now, async (roots) => {
    const authority = await make(roots.trustDomain);
    if (isFailure(authority)) return authority;
    const root = rootOf(authority, now);
    const known = roots.all.find(({ id }) => id === root.id);
    if (known !== undefined) {
      const renewed = { ...known, authority };
      return (await writeIntermediate(folder, renewed)) ?? { root: renewed, isNew: false };
    }
    if (roots.all.length >= MAX_ROOTS) {
      return fail("IDENTITY_UNAVAILABLE", `${folder}: has ${MAX_ROOTS} roots already; remove one`);
    }
    const unwritten =
      (await writeRoot(folder, root)) ?? (await writeIndex(folder, { ...roots, all: [...roots.all, root] }));
    return unwritten ?? { root, isNew: true };
  });
}

/** Signs by another root from now on. Fails with IDENTITY_UNAVAILABLE, saying what it would break. */
export function activateRoot(folder: string, id: string, { now, force }: StepOptions): Promise<Root | Failure> {
  return changing(folder, now, async (roots) => {
    const root = findRoot(roots, id);
    if (isFailure(root)) return root;
    if (root.id === roots.signing.id) return refused(`${root.id} signs already`);
    const objection = objectionTo(root.authority, now);
    if (objection !== undefined) return fail(objection.code, `${root.id}: ${objection.detail}`);
    const issued = await readIssued(folder, now);
    if (isFailure(issued)) return issued;
    const since = trustedSince(roots, root);
    const unaware = issued.filter(({ issuedAt }) => issuedAt < since);
    if (unaware.length > 0 && !force) {
      return refused(
        `${many(unaware)} issued before ${root.id} was trusted: holders that got their bundle with it, and do not watch the ` +
          `authority, do not know this root yet and would refuse what it signs; wait, or use --force if all of them watch`,
      );
    }
    return (await writeIndex(folder, { ...roots, signing: root })) ?? root;
  });
}

/** Trusts a root no more, and forgets its keys. Fails with IDENTITY_UNAVAILABLE, saying what it would break. */
export function removeRoot(folder: string, id: string, { now, force }: StepOptions): Promise<Root | Failure> {
  return changing(folder, now, async (roots) => {
    const root = findRoot(roots, id);
    if (isFailure(root)) return root;
    if (root.id === roots.signing.id) return refused(`${root.id} signs; activate another one first`);
    const issued = await readIssued(folder, now);
    if (isFailure(issued)) return issued;
    const orphans = issued.filter(({ rootId }) => rootId === root.id);
    if (orphans.length > 0 && !force) {
      return refused(`${many(orphans)} signed by ${root.id}, and would be refused from now on; wait, or use --force`);
    }
    const all = roots.all.filter((each) => each !== root);
    return (await writeIndex(folder, { ...roots, all }, [root])) ?? root;
  });
}

/** The root of this ID, or of the only ID that begins so. Fails with IDENTITY_UNAVAILABLE. */
function findRoot({ all }: Roots, id: string): Root | Failure {
  const [root, ...others] = id.length < 4 ? [] : all.filter((each) => each.id.startsWith(id));
  if (root !== undefined && others.length === 0) return root;
  return refused(`there is no root ${id}; there are ${all.map((each) => each.id).join(", ")}`);
}

/** One change of the roots under the lock, after which each intermediate has its list. */
function changing<T>(
  folder: string,
  now: number,
  change: (roots: Roots) => Promise<T | Failure>,
): Promise<T | Failure> {
  return whileLocked(folder, async () => {
    const roots = await tidyFolder(folder);
    if (isFailure(roots)) return roots;
    const outcome = await change(roots);
    if (isFailure(outcome)) return outcome;
    const after = await tidyFolder(folder);
    if (isFailure(after)) return after;
    const lists = await refreshRevocations(folder, after, now);
    return isFailure(lists) ? lists : outcome;
  });
}

/** When the certificate of a root was first in the bundle: an intermediate may come below one that has long been there. */
function trustedSince({ all }: Roots, root: Root): number {
  const own = new X509Certificate(root.authority.root.certificatePem).fingerprint256;
  const same = all.filter(({ authority }) => new X509Certificate(authority.root.certificatePem).fingerprint256 === own);
  return Math.min(...same.map(({ addedAt }) => addedAt));
}

function many(entries: readonly IssuedEntry[]): string {
  const end = new Date(entries.reduce((latest, { notAfter }) => Math.max(latest, notAfter), 0)).toISOString();
  return entries.length === 1
    ? `a certificate that is alive until ${end} was`
    : `${entries.length} certificates that are alive, the last until ${end}, were`;
}

function refused(detail: string): Failure {
  return fail("IDENTITY_UNAVAILABLE", detail);
}
