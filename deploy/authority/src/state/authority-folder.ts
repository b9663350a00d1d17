// Machine. The roots in the folder of an authority. `authority.json` alone says which are trusted and which signs, so that each
// step of a rotation is one replaced file; the files of a root are written before it names them and removed after it does not.
import { X509Certificate, createPrivateKey, hash } from "node:crypto";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { fieldsOf } from "@culvert/shared/identity/certificate-fields.ts";
import { certificatesFromPem, pemOf } from "@culvert/shared/identity/pem.ts";
import { readKeyFile, readPublicFile } from "@culvert/shared/identity/read-file.ts";
import { parseSpiffeId, parseTrustDomain, pathOf, trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { chainOf } from "../ca/certificate-authority.ts";
import type { CertificateAuthority } from "../ca/certificate-authority.ts";
import { removeQuietly, stagingOf, syncFolder, writeFileWhole } from "@culvert/shared/identity/write-file.ts";
import { PRIVATE_FOLDER, PUBLIC, SECRET, attempt, exists, removeStaged, unwritable } from "./files.ts";

/** A root with the intermediate below it, as one thing that is trusted or signs. */
export interface Root {
  /** Hex: names the root and the intermediate's key, so that a renewed intermediate is the same one. */
  readonly id: string;
  /** Milliseconds since the epoch; 0 for the first. */
  readonly addedAt: number;
  readonly authority: CertificateAuthority;
}

/** All roots of an authority. */
export interface Roots {
  readonly trustDomain: TrustDomain;
  readonly signing: Root;
  /** Those that are trusted, in the order in which they came. */
  readonly all: readonly Root[];
}

/** More than a rotation needs, however often it was begun. */
export const MAX_ROOTS = 8;

const INDEX = "authority.json";
/** Whom the mesh trusts, for clients that are given a file. */
const BUNDLE = "root.pem";
const ROOTS = "roots";
const ROOT = { certificate: "root.pem", key: "root-key.pem" } as const;
const INTERMEDIATE = { certificate: "intermediate.pem", key: "intermediate-key.pem" } as const;
const ID = /^[0-9a-f]{16}$/;

/** Content of `authority.json`. */
interface Index {
  readonly trustDomain: string;
  readonly signing: string;
  readonly roots: readonly { readonly id: string; readonly addedAt: number }[];
}

/** An authority as one of the roots of a folder. */
export function rootOf(authority: CertificateAuthority, addedAt: number): Root {
  const root = new X509Certificate(authority.root.certificatePem);
  const { publicKey } = new X509Certificate(authority.intermediate.certificatePem);
  const named = Buffer.concat([root.raw, publicKey.export({ type: "spki", format: "der" })]);
  return { id: hash("sha256", named).slice(0, 16), addedAt, authority };
}

/** The certificates of all trusted roots, each once, PEM. */
export function bundlePemOf({ all }: Roots): string {
  return [...new Set(all.map(({ authority }) => new X509Certificate(authority.root.certificatePem).toString()))].join(
    "",
  );
}

/**
 * Writes a new authority as `folder`, which must not exist; it appears whole or not at all. Fails with IDENTITY_UNAVAILABLE when
 * it exists or cannot be made.
 */
export async function writeAuthority(folder: string, authority: CertificateAuthority): Promise<Failure | undefined> {
  const staging = stagingOf(folder);
  try {
    if (await exists(folder)) return fail("IDENTITY_UNAVAILABLE", `${folder} already exists`);
    await mkdir(dirname(folder), { recursive: true });
    await mkdir(staging, { mode: PRIVATE_FOLDER });
    const signing = rootOf(authority, 0);
    await writeParts(staging, signing);
    await writeIndexFile(staging, { trustDomain: authority.trustDomain, signing, all: [signing] });
    await rename(staging, folder);
    await syncFolder(dirname(folder));
    return undefined;
  } catch (error) {
    await removeQuietly(staging);
    return unwritable(folder, error);
  }
}

/** Whether a folder belongs to an authority. */
export async function isAuthorityFolder(folder: string): Promise<boolean> {
  return (await exists(join(folder, INDEX))) || exists(join(folder, ROOT.key));
}

/**
 * Makes a folder ready to be changed: what killed writers have left is removed, and one of an earlier form (one root, its files at
 * the top) becomes one of today's. To be called under the lock for writing. Fails as `readRoots`.
 */
export async function tidyFolder(folder: string): Promise<Roots | Failure> {
  const roots = await readRoots(folder);
  if (isFailure(roots)) return roots;
  const tidied = await attempt(folder, async () => {
    for (const each of [folder, join(folder, ROOTS)]) await removeStaged(each);
    if (!(await exists(join(folder, INDEX)))) {
      await writeParts(folder, roots.signing);
      await writeIndexFile(folder, roots);
    }
    // They were copied; a key should be in one place.
    for (const name of [ROOT.key, INTERMEDIATE.certificate, INTERMEDIATE.key])
      await rm(join(folder, name), { force: true });
    const bundle = await readPublicFile(join(folder, BUNDLE));
    if (bundle !== bundlePemOf(roots)) await writeFileWhole(join(folder, BUNDLE), bundlePemOf(roots), PUBLIC);
    return undefined;
  });
  return tidied ?? roots;
}

/** Writes the files of a root, which counts once `writeIndex` names it. Fails with IDENTITY_UNAVAILABLE. */
export async function writeRoot(folder: string, root: Root): Promise<Failure | undefined> {
  return attempt(folder, async () => {
    await writeParts(folder, root);
    return undefined;
  });
}

/** Says which roots are trusted and which signs, and publishes the bundle; roots that are no longer named lose their files. */
export async function writeIndex(
  folder: string,
  roots: Roots,
  gone: readonly Root[] = [],
): Promise<Failure | undefined> {
  return attempt(folder, async () => {
    await writeIndexFile(folder, roots);
    for (const { id } of gone) await rm(join(folder, ROOTS, id), { recursive: true, force: true });
    if (gone.length > 0) await syncFolder(join(folder, ROOTS));
    return undefined;
  });
}

/** Replaces the certificate of an intermediate, whose key has stayed. Fails with IDENTITY_UNAVAILABLE. */
export async function writeIntermediate(folder: string, { id, authority }: Root): Promise<Failure | undefined> {
  return attempt(folder, async () => {
    const place = (await exists(join(folder, INDEX))) ? join(folder, ROOTS, id) : folder;
    await writeFileWhole(join(place, INTERMEDIATE.certificate), chainOf(authority), PUBLIC);
    return undefined;
  });
}

/** The signing authority of a folder. Fails as `readRoots`. */
export async function readAuthority(folder: string): Promise<CertificateAuthority | Failure> {
  const roots = await readRoots(folder);
  return isFailure(roots) ? roots : roots.signing.authority;
}

/**
 * Reads the roots of an authority. Fails with IDENTITY_UNAVAILABLE when a file is missing or a key is open to others, and with
 * IDENTITY_MALFORMED when they do not make one authority.
 */
export async function readRoots(folder: string): Promise<Roots | Failure> {
  const place = join(folder, INDEX);
  if (!(await exists(place))) return readFlat(folder);
  const text = await readPublicFile(place);
  if (isFailure(text)) return text;
  const index = indexOf(text);
  const trustDomain = index === undefined ? undefined : parseTrustDomain(index.trustDomain);
  if (index === undefined || trustDomain === undefined || isFailure(trustDomain)) {
    return fail("IDENTITY_MALFORMED", `${place}: not the index of an authority`);
  }
  const all: Root[] = [];
  for (const { id, addedAt } of index.roots) {
    const authority = await readParts(join(folder, ROOTS, id), trustDomain);
    if (isFailure(authority)) return authority;
    all.push({ id, addedAt, authority });
  }
  const signing = all.find(({ id }) => id === index.signing);
  if (signing === undefined) return fail("IDENTITY_MALFORMED", `${place}: its signing root is not among its roots`);
  return { trustDomain, signing, all };
}

/** The earlier form: one root, which names its trust domain. */
async function readFlat(folder: string): Promise<Roots | Failure> {
  const authority = await readParts(folder, undefined);
  if (isFailure(authority)) return authority;
  const signing = rootOf(authority, 0);
  return { trustDomain: authority.trustDomain, signing, all: [signing] };
}

async function readParts(place: string, domain: TrustDomain | undefined): Promise<CertificateAuthority | Failure> {
  const root = await readPart(place, ROOT);
  if (isFailure(root)) return root;
  const intermediate = await readPart(place, INTERMEDIATE);
  if (isFailure(intermediate)) return intermediate;
  const [upper] = root.certificates;
  const [lower, ...between] = intermediate.certificates;
  if (upper === undefined || lower === undefined || !isChain([lower, ...between, upper])) {
    return fail("IDENTITY_MALFORMED", `${place}: ${INTERMEDIATE.certificate} is not signed by ${ROOT.certificate}`);
  }
  if (intermediate.keyPem === undefined) {
    return fail("IDENTITY_UNAVAILABLE", `${join(place, INTERMEDIATE.key)}: cannot be read (ENOENT)`);
  }
  const trustDomain = domain ?? trustDomainIn(upper);
  if (isFailure(trustDomain)) return fail(trustDomain.code, `${join(place, ROOT.certificate)}: ${trustDomain.detail}`);
  return {
    trustDomain,
    root: { certificatePem: upper.toString(), keyPem: root.keyPem },
    intermediate: { certificatePem: lower.toString(), keyPem: intermediate.keyPem },
    upperPem: pemOf(between),
  };
}

async function readPart(
  place: string,
  names: typeof ROOT | typeof INTERMEDIATE,
): Promise<{ readonly certificates: readonly X509Certificate[]; readonly keyPem: string | undefined } | Failure> {
  const certificatePem = await readPublicFile(join(place, names.certificate));
  if (isFailure(certificatePem)) return certificatePem;
  const certificates = certificatesFromPem(certificatePem, join(place, names.certificate));
  if (isFailure(certificates)) return certificates;
  // A root may be kept without its key.
  if (!(await exists(join(place, names.key)))) return { certificates, keyPem: undefined };
  const keyPem = await readKeyFile(join(place, names.key));
  if (isFailure(keyPem)) return keyPem;
  try {
    if (certificates[0]?.checkPrivateKey(createPrivateKey(keyPem)) === true) return { certificates, keyPem };
    return fail("IDENTITY_MALFORMED", `${join(place, names.key)} is not the key of ${names.certificate}`);
  } catch {
    return fail("IDENTITY_MALFORMED", `${join(place, names.key)} is not a private key`);
  }
}

function isChain(upward: readonly X509Certificate[]): boolean {
  return upward.every((each, at) => {
    const issuer = upward[at + 1] ?? each;
    return each.checkIssued(issuer) && each.verify(issuer.publicKey);
  });
}

/** A signing certificate carries the ID of its trust domain (X509-SVID section 2). */
function trustDomainIn(root: X509Certificate): TrustDomain | Failure {
  const fields = fieldsOf(root);
  if (isFailure(fields)) return fields;
  const [uri = "", ...others] = fields.uris;
  const id = parseSpiffeId(uri);
  if (isFailure(id)) return id;
  if (others.length > 0 || pathOf(id) !== "")
    return fail("IDENTITY_MALFORMED", `${uri} is not the ID of a trust domain`);
  return trustDomainOf(id);
}

async function writeParts(folder: string, { id, authority }: Root): Promise<void> {
  const place = join(folder, ROOTS, id);
  const staging = stagingOf(place);
  try {
    await mkdir(join(folder, ROOTS), { recursive: true, mode: PRIVATE_FOLDER });
    await mkdir(staging, { mode: PRIVATE_FOLDER });
    const { root, intermediate } = authority;
    if (root.keyPem !== undefined) await writeFileWhole(join(staging, ROOT.key), root.keyPem, SECRET);
    await writeFileWhole(join(staging, ROOT.certificate), root.certificatePem, PUBLIC);
    await writeFileWhole(join(staging, INTERMEDIATE.key), intermediate.keyPem, SECRET);
    await writeFileWhole(join(staging, INTERMEDIATE.certificate), chainOf(authority), PUBLIC);
    // What is there is no root that counts: a writer was killed before it named it.
    await rm(place, { recursive: true, force: true });
    await rename(staging, place);
    await syncFolder(join(folder, ROOTS));
  } catch (error) {
    await removeQuietly(staging);
    throw error;
  }
}

async function writeIndexFile(folder: string, roots: Roots): Promise<void> {
  const { trustDomain, signing, all } = roots;
  const index: Index = { trustDomain, signing: signing.id, roots: all.map(({ id, addedAt }) => ({ id, addedAt })) };
  await writeFileWhole(join(folder, INDEX), `${JSON.stringify(index, undefined, 2)}\n`, PUBLIC);
  await writeFileWhole(join(folder, BUNDLE), bundlePemOf(roots), PUBLIC);
}

/** The content of `authority.json`; undefined when it is not one, whoever has written it. */
function indexOf(text: string): Index | undefined {
  let value: Partial<Index> | null;
  try {
    value = JSON.parse(text) as Partial<Index> | null;
  } catch {
    return undefined;
  }
  const { trustDomain, signing, roots } = value ?? {};
  if (typeof trustDomain !== "string" || typeof signing !== "string" || !Array.isArray(roots)) return undefined;
  const isWhole = roots.every(
    (each: Partial<Index["roots"][number]> | null) =>
      typeof each?.id === "string" && ID.test(each.id) && typeof each.addedAt === "number",
  );
  return isWhole && roots.length > 0 && roots.length <= MAX_ROOTS ? { trustDomain, signing, roots } : undefined;
}
