// Pure. The revocation lists that are in force: what a file or a source brings is read, held against what was known before, and
// put in order by issuer. A list never gives way to an older one, nor a proven one to one that nobody has signed.
import type { X509Certificate } from "node:crypto";
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Bundle, RevocationList, Revocations } from "../source.ts";
import { revocationListFromDer } from "./crl.ts";
import { bearsNameOf, hasSigned } from "./revoked.ts";

/** Lists of one file or source: far more than a trust domain has issuers. */
export const MAX_LISTS = 64;
/** A file of several lists, PEM or not. */
export const MAX_CRL_FILE_BYTES: number = 8 * 1024 * 1024;

const BEGIN = "-----BEGIN X509 CRL-----";
const END = "-----END X509 CRL-----";

/** What came of lists that were read: those in force, and what is to be said of the others. */
export interface RevocationsUpdate {
  readonly revocations: Revocations;
  readonly problems: readonly Failure[];
}

/** Reads the lists of a file: PEM, any number of them, or one as DER. Fails with IDENTITY_MALFORMED, naming `place`. */
export function revocationListsFromFile(bytes: Uint8Array, place: string): readonly RevocationList[] | Failure {
  const ders = bytes[0] === 0x30 ? [bytes] : dersOf(Buffer.from(bytes).toString("latin1"));
  if (typeof ders === "string") return fail("IDENTITY_MALFORMED", `${place}: ${ders}`);
  return revocationListsFromDers(ders, place);
}

/** Reads lists that came as DER, one by one, as the SPIFFE Workload API sends them. */
export function revocationListsFromDers(
  ders: readonly Uint8Array[],
  place: string,
): readonly RevocationList[] | Failure {
  if (ders.length > MAX_LISTS) return fail("IDENTITY_MALFORMED", `${place}: holds more than ${MAX_LISTS} lists`);
  const lists: RevocationList[] = [];
  for (const der of ders) {
    const list = revocationListFromDer(der);
    if (isFailure(list)) return fail(list.code, `${place}: ${list.detail}`);
    lists.push(list);
  }
  return lists;
}

/**
 * Puts newly read lists in the place of those that were in force. `authorities` are the CA certificates known here: a list that
 * none of them has signed is kept beside the one it would replace, since its issuer may still come with a peer's chain.
 */
export function takeRevocations(
  before: Revocations,
  read: readonly RevocationList[],
  authorities: readonly X509Certificate[],
): RevocationsUpdate {
  const problems: Failure[] = [];
  const next = new Map<string, RevocationList[]>();
  const put = (list: RevocationList): void => {
    const others = next.get(list.issuer) ?? [];
    if (!others.some(({ digest }) => digest === list.digest)) next.set(list.issuer, [...others, list]);
  };
  for (const list of read) {
    const old = before.get(list.issuer)?.filter((each) => each.issuerKey === list.issuerKey) ?? [];
    const proven = isProven(list, authorities);
    // An issuer that nobody here has met is no problem: it may be an intermediate that comes with its peers.
    if (!proven && authorities.some((authority) => bearsNameOf(authority, list))) {
      problems.push(fail("IDENTITY_UNTRUSTED", `${nameOf(list)} bears the name of an issuer that has not signed it`));
    }
    const newer = old.find((each) => isOlder(list, each) && (!proven || isProven(each, authorities)));
    if (newer !== undefined) {
      problems.push(fail("IDENTITY_MALFORMED", `${nameOf(list)} is older than the one in use, ${nameOf(newer)}`));
      put(newer);
      continue;
    }
    // The very object, so that what was found out about its signature is not lost.
    put(old.find(({ digest }) => digest === list.digest) ?? list);
    if (!proven) for (const each of old) if (isProven(each, authorities)) put(each);
  }
  return { revocations: next, problems };
}

/** Lists of several places together. */
export function joinRevocations(...all: readonly Revocations[]): Revocations {
  const filled = all.filter((each) => each.size > 0);
  const [only] = filled;
  if (filled.length < 2) return only ?? new Map();
  const joined = new Map<string, readonly RevocationList[]>();
  for (const each of filled) {
    for (const [issuer, lists] of each) {
      const there = joined.get(issuer) ?? [];
      joined.set(issuer, [...there, ...lists.filter(({ digest }) => there.every((one) => one.digest !== digest))]);
    }
  }
  return joined;
}

/** The lists whose issuers promised a newer one by `now` (milliseconds since the epoch). They stay in force. */
export function staleLists(revocations: Revocations, now: number): readonly RevocationList[] {
  return [...revocations.values()].flat().filter(({ nextUpdate }) => nextUpdate !== undefined && nextUpdate < now);
}

/** The CA certificates by which lists are proven before any peer has come. */
export function authoritiesOf(
  bundles: ReadonlyMap<string, Bundle>,
  ownChain: readonly X509Certificate[],
): readonly X509Certificate[] {
  return [...[...bundles.values()].flatMap(({ roots }) => roots), ...ownChain.slice(1)];
}

/** How a list is called where people read of it. */
export function nameOf({ number, issuerKey, thisUpdate }: RevocationList): string {
  const issuer = issuerKey === undefined ? "" : ` of the issuer with key ${issuerKey}`;
  const which = number === undefined ? "" : ` ${number}`;
  return `revocation list${which}${issuer} from ${new Date(thisUpdate).toISOString()}`;
}

function isProven(list: RevocationList, authorities: readonly X509Certificate[]): boolean {
  return authorities.some((authority) => hasSigned(authority, list));
}

/** By number where both have one, else by time (RFC 5280 section 5.2.3). */
function isOlder(one: RevocationList, other: RevocationList): boolean {
  if (one.number !== undefined && other.number !== undefined) return one.number < other.number;
  return one.thisUpdate < other.thisUpdate;
}

function dersOf(pem: string): Uint8Array[] | string {
  const ders: Uint8Array[] = [];
  for (let from = pem.indexOf(BEGIN); from !== -1; from = pem.indexOf(BEGIN, from)) {
    const to = pem.indexOf(END, from);
    if (to === -1) return "a revocation list is cut short";
    const body = pem.slice(from + BEGIN.length, to).replace(/[\r\n\t ]/g, "");
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(body)) return "a revocation list is not base64";
    ders.push(Buffer.from(body, "base64"));
    if (ders.length > MAX_LISTS) break;
    from = to;
  }
  return ders.length > 0 ? ders : "holds no revocation list, PEM or DER";
}
