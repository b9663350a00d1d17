// Machine. What an authority has revoked, and the lists that say so. `revoked.json` is the record, `crl.pem` is signed from it, one
// list for each intermediate; a process killed between the two leaves numbers that differ, and the next one signs again. Lists
// of others stand in `crls/`: those of our own intermediates (of a second authority over them) become part of ours.
import { X509Certificate } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { codeOf, readPublicBytes } from "@culvert/shared/identity/read-file.ts";
import type { RevocationList } from "@culvert/shared/identity/source.ts";
import { MAX_CRL_FILE_BYTES, MAX_LISTS, revocationListsFromDers } from "@culvert/shared/identity/trust/revocations.ts";
import { hasSigned } from "@culvert/shared/identity/trust/revoked.ts";
import { MAX_SVID_LIFE_MS } from "../ca/certificate-authority.ts";
import { REVOCATION_REASONS, entriesOf, signRevocationList } from "../ca/crl.ts";
import type { RevocationReason, RevokedEntry } from "../ca/crl.ts";
import { mayRevoke } from "../ca/imported-ca.ts";
import type { Root, Roots } from "./authority-folder.ts";
import { writeFileWhole } from "@culvert/shared/identity/write-file.ts";
import { PUBLIC, SECRET, attempt } from "./files.ts";

/** Something revoked. Times are milliseconds since the epoch. */
export interface Revoked extends RevokedEntry {
  /** Whose list it belongs on; undefined: on every list, since nobody knows. */
  readonly rootId?: string;
  readonly id?: string;
  /** When it needs no place on a list any more. */
  readonly notAfter: number;
}

/** A list with its bytes. */
export interface ListAndDer {
  readonly list: RevocationList;
  readonly der: Uint8Array;
}

/** Lists that could be read, and why others could not: a file that somebody else has spoiled must not stop ours. */
interface ReadLists {
  readonly lists: readonly ListAndDer[];
  readonly problem: Failure | undefined;
}

/** What is to be on the lists from now on. */
interface Plan {
  readonly number: number;
  readonly revoked: readonly Revoked[];
}

const RECORD = "revoked.json";
const LISTS = "crl.pem";
const FOREIGN = "crls";
const MAX_RECORD_BYTES = 16 * 1024 * 1024;
/** A list of so many entries has two megabytes, half of what readers take. */
const MAX_REVOKED = 50_000;
/** How long a list counts for new; it is signed again when half of that is over. */
const LIST_LIFE_MS = 24 * 3_600_000;
const SECOND_MS = 1_000;
const BLOCK = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----/g;
const SEQUENCE = 0x30;
const SERIAL = /^[0-9A-F]{1,40}$/;

/** A serial number as it is compared here, whoever has written it; undefined when it is none. */
export function normalSerial(text: string): string | undefined {
  const serial = text
    .replaceAll(":", "")
    .replace(/^0+(?=.)/, "")
    .toUpperCase();
  return SERIAL.test(serial) ? serial : undefined;
}

/**
 * Revokes, takes over what others have revoked, drops what has expired and signs the lists anew, whatever of that is due. Returns
 * whether anything was. To be called under the lock for writing. Fails with IDENTITY_UNAVAILABLE.
 */
export async function refreshRevocations(
  folder: string,
  roots: Roots,
  now: number,
  more: readonly Revoked[] = [],
): Promise<boolean | Failure> {
  const plan = await planOf(folder, roots, now, more);
  if (plan === undefined || isFailure(plan)) return plan ?? false;
  const written = await attempt(folder, async () => {
    await writeFileWhole(join(folder, RECORD), `${JSON.stringify(plan)}\n`, SECRET);
    await writeFileWhole(join(folder, LISTS), listsOf(roots, plan, now), PUBLIC);
    return true;
  });
  return written;
}

/** Whether `refreshRevocations` has something to do. Fails as it does. */
export async function isRefreshDue(folder: string, roots: Roots, now: number): Promise<boolean | Failure> {
  const plan = await planOf(folder, roots, now, []);
  return isFailure(plan) ? plan : plan !== undefined;
}

/** What is revoked and has not expired; undefined where nothing ever was. Fails with IDENTITY_UNAVAILABLE. */
export async function readRevoked(folder: string): Promise<Plan | undefined | Failure> {
  const place = join(folder, RECORD);
  const bytes = await readPublicBytes(place, MAX_RECORD_BYTES);
  if (isFailure(bytes)) return bytes.detail.endsWith("(ENOENT)") ? undefined : bytes;
  return contentOf(bytes.toString("utf8")) ?? fail("IDENTITY_MALFORMED", `${place}: not the record of what is revoked`);
}

/** The lists of this authority, and those of others that are not part of ours, with what is wrong with others' files. */
export async function readLists(folder: string, roots: Roots): Promise<ReadLists> {
  const own = await readOwn(folder);
  if (isFailure(own)) return { lists: [], problem: own };
  const { lists, problem } = await readForeign(folder);
  return {
    lists: [...own, ...lists.filter(({ list }) => signerOf(roots, list) === undefined)].slice(0, MAX_LISTS),
    problem,
  };
}

async function planOf(
  folder: string,
  roots: Roots,
  now: number,
  more: readonly Revoked[],
): Promise<Plan | undefined | Failure> {
  const record = await readRevoked(folder);
  if (isFailure(record)) return record;
  const foreign = await readForeign(folder);
  const before = record?.revoked ?? [];
  const known = new Map(before.map((each) => [each.serial, each]));
  for (const each of [...more, ...(await takenOver(roots, foreign.lists))]) {
    if (!known.has(each.serial) && each.notAfter > now) known.set(each.serial, each);
  }
  const revoked = [...known.values()].filter(({ notAfter }) => notAfter > now);
  if (record === undefined && revoked.length === 0) return undefined;
  if (revoked.length > MAX_REVOKED) {
    return fail(
      "IDENTITY_UNAVAILABLE",
      `${folder}: more than ${MAX_REVOKED} certificates would be revoked; replace the root`,
    );
  }
  const isSame = revoked.length === before.length && revoked.every(({ serial }, at) => serial === before[at]?.serial);
  if (isSame && record !== undefined && (await areFresh(folder, roots, record.number, now))) return undefined;
  // By the clock, so that of two authorities over one intermediate the later list has the higher number too.
  return { number: Math.max((record?.number ?? 0) + 1, Math.floor(now / SECOND_MS)), revoked };
}

async function areFresh(folder: string, roots: Roots, number: number, now: number): Promise<boolean> {
  const own = await readOwn(folder);
  if (isFailure(own)) return false;
  const wanted = roots.all.filter(({ authority }) => mayRevoke(authority));
  return (
    own.length === wanted.length &&
    wanted.every((root) =>
      own.some(({ list }) => {
        const { nextUpdate = 0, thisUpdate } = list;
        const isInTime = nextUpdate - now > LIST_LIFE_MS / 2 && thisUpdate <= now + LIST_LIFE_MS / 2;
        return isInTime && list.number === BigInt(number) && hasSigned(signerCertificate(root), list);
      }),
    )
  );
}

function listsOf(roots: Roots, { number, revoked }: Plan, now: number): string {
  const thisUpdate = Math.floor(now / SECOND_MS) * SECOND_MS;
  return roots.all
    .filter(({ authority }) => mayRevoke(authority))
    .map(({ id, authority }) =>
      signRevocationList(authority.intermediate, {
        number,
        thisUpdate,
        nextUpdate: thisUpdate + LIST_LIFE_MS,
        entries: revoked.filter(({ rootId }) => rootId === undefined || rootId === id),
      }),
    )
    .join("");
}

/** What the lists of others say about certificates of our own intermediates. */
async function takenOver(roots: Roots, foreign: readonly ListAndDer[]): Promise<readonly Revoked[]> {
  const taken: Revoked[] = [];
  for (const { list, der } of foreign) {
    const root = signerOf(roots, list);
    const entries = root === undefined ? [] : await entriesOf(der);
    if (root === undefined || isFailure(entries)) continue;
    for (const entry of entries) {
      const serial = normalSerial(entry.serial);
      // Nobody tells when it expires, but nothing lives longer; both authorities come to the same.
      if (serial !== undefined)
        taken.push({ ...entry, serial, rootId: root.id, notAfter: entry.revokedAt + MAX_SVID_LIFE_MS });
    }
  }
  return taken;
}

function signerOf(roots: Roots, list: RevocationList): Root | undefined {
  return roots.all.find((root) => hasSigned(signerCertificate(root), list));
}

const certificates = new WeakMap<Root, X509Certificate>();

function signerCertificate(root: Root): X509Certificate {
  const known = certificates.get(root) ?? new X509Certificate(root.authority.intermediate.certificatePem);
  certificates.set(root, known);
  return known;
}

async function readOwn(folder: string): Promise<readonly ListAndDer[] | Failure> {
  const lists = await readFile(join(folder, LISTS));
  return isFailure(lists) && lists.detail.endsWith("(ENOENT)") ? [] : lists;
}

async function readForeign(folder: string): Promise<ReadLists> {
  const place = join(folder, FOREIGN);
  let names: readonly string[];
  try {
    names = await readdir(place);
  } catch (error) {
    const problem = fail("IDENTITY_UNAVAILABLE", `${place}: cannot be read (${codeOf(error)})`);
    return { lists: [], problem: codeOf(error) === "ENOENT" ? undefined : problem };
  }
  const lists: ListAndDer[] = [];
  let problem: Failure | undefined;
  for (const name of names.filter((each) => !each.startsWith(".")).toSorted()) {
    const read = await readFile(join(place, name));
    if (isFailure(read)) problem ??= read;
    else if (lists.length + read.length <= MAX_LISTS) lists.push(...read);
    else problem ??= fail("IDENTITY_MALFORMED", `${place}: holds more than ${MAX_LISTS} lists`);
  }
  return { lists, problem };
}

/** The lists of a file: PEM, any number of them, or one as DER. */
async function readFile(place: string): Promise<readonly ListAndDer[] | Failure> {
  const bytes = await readPublicBytes(place, MAX_CRL_FILE_BYTES);
  if (isFailure(bytes)) return bytes;
  const blocks =
    bytes[0] === SEQUENCE
      ? [bytes]
      : [...bytes.toString("latin1").matchAll(BLOCK)].map(([, text = ""]) => Buffer.from(text, "base64"));
  if (blocks.length === 0) return fail("IDENTITY_MALFORMED", `${place}: holds no revocation list`);
  const lists = revocationListsFromDers(blocks, place);
  if (isFailure(lists)) return lists;
  return lists.flatMap((list, at) => {
    const der = blocks[at];
    return der === undefined ? [] : [{ list, der }];
  });
}

/** The content of `revoked.json`; undefined when it is not one, whoever has written it. */
function contentOf(text: string): Plan | undefined {
  let value: Partial<Plan> | null;
  try {
    value = JSON.parse(text) as Partial<Plan> | null;
  } catch {
    return undefined;
  }
  const { number, revoked } = value ?? {};
  if (!Number.isSafeInteger(number) || !Array.isArray(revoked) || revoked.length > MAX_REVOKED) return undefined;
  return revoked.every(isRevoked) ? { number: Number(number), revoked } : undefined;
}

function isRevoked(value: Partial<Revoked> | null): boolean {
  const { serial, revokedAt, notAfter, reason, rootId = "", id = "" } = value ?? {};
  return (
    typeof serial === "string" &&
    SERIAL.test(serial) &&
    typeof revokedAt === "number" &&
    typeof notAfter === "number" &&
    Object.keys(REVOCATION_REASONS).includes(reason as RevocationReason) &&
    typeof rootId === "string" &&
    typeof id === "string"
  );
}
