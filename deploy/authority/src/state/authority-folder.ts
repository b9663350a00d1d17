// Machine. The files of an authority and of what it issues: written whole or not at all, read with their modes checked.
import { X509Certificate, createPrivateKey, randomBytes } from "node:crypto";
import { lstat, mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { fieldsOf } from "@culvert/shared/identity/certificate-fields.ts";
import { certificatesFromPem } from "@culvert/shared/identity/pem.ts";
import { readKeyFile, readPublicFile } from "@culvert/shared/identity/read-file.ts";
import { parseSpiffeId, pathOf, trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { CertificateAuthority, IssuedSvid } from "../ca/certificate-authority.ts";
import type { CertificateAndKey } from "../ca/certificate.ts";

const ROOT = { certificate: "root.pem", key: "root-key.pem" } as const;
const INTERMEDIATE = { certificate: "intermediate.pem", key: "intermediate-key.pem" } as const;
const SVID = { certificate: "svid.pem", key: "key.pem", bundle: "bundle.pem" } as const;

const SECRET = 0o600;
const PUBLIC = 0o644;
const PRIVATE_FOLDER = 0o700;

/**
 * Writes a new authority as `folder`, which must not exist; it appears whole or not at all. Fails with IDENTITY_UNAVAILABLE when
 * it exists or cannot be made.
 */
export async function writeAuthority(folder: string, authority: CertificateAuthority): Promise<Failure | undefined> {
  const staging = join(dirname(folder), `.${basename(folder)}.${randomBytes(6).toString("hex")}`);
  try {
    if (await exists(folder)) return fail("IDENTITY_UNAVAILABLE", `${folder} already exists`);
    await mkdir(dirname(folder), { recursive: true });
    await mkdir(staging, { mode: PRIVATE_FOLDER });
    for (const [names, part] of [
      [ROOT, authority.root],
      [INTERMEDIATE, authority.intermediate],
    ] as const) {
      await writeFileWhole(join(staging, names.key), part.keyPem, SECRET);
      await writeFileWhole(join(staging, names.certificate), part.certificatePem, PUBLIC);
    }
    await rename(staging, folder);
    return undefined;
  } catch (error) {
    await removeQuietly(staging);
    return unwritable(folder, error);
  }
}

/** Replaces the certificate of the intermediate, whose key has stayed. Fails with IDENTITY_UNAVAILABLE. */
export async function writeIntermediate(
  folder: string,
  { intermediate }: CertificateAuthority,
): Promise<Failure | undefined> {
  return attempt(folder, () =>
    writeFileWhole(join(folder, INTERMEDIATE.certificate), intermediate.certificatePem, PUBLIC),
  );
}

/**
 * Reads an authority. Fails with IDENTITY_UNAVAILABLE when a file is missing or a key is open to others, and with
 * IDENTITY_MALFORMED when they do not make one authority.
 */
export async function readAuthority(folder: string): Promise<CertificateAuthority | Failure> {
  const root = await readPart(folder, ROOT);
  if (isFailure(root)) return root;
  const intermediate = await readPart(folder, INTERMEDIATE);
  if (isFailure(intermediate)) return intermediate;
  const [upper, lower] = [root, intermediate].map((part) => new X509Certificate(part.certificatePem));
  if (upper === undefined || lower === undefined || !lower.checkIssued(upper) || !lower.verify(upper.publicKey)) {
    return fail("IDENTITY_MALFORMED", `${folder}: ${INTERMEDIATE.certificate} is not signed by ${ROOT.certificate}`);
  }
  const trustDomain = trustDomainIn(upper);
  if (isFailure(trustDomain)) return fail(trustDomain.code, `${join(folder, ROOT.certificate)}: ${trustDomain.detail}`);
  return { trustDomain, root, intermediate };
}

/**
 * Writes an SVID into `folder`, made when it is not there. An earlier SVID of the same identity is replaced, each file in one
 * step; one of another identity, or an authority, is not. Fails with IDENTITY_UNAVAILABLE.
 */
export async function writeSvid(folder: string, svid: IssuedSvid): Promise<Failure | undefined> {
  const occupant = await occupantOf(folder);
  if (occupant !== undefined && occupant !== svid.id) {
    return fail("IDENTITY_UNAVAILABLE", `${folder} holds ${occupant}; it is not overwritten with ${svid.id}`);
  }
  return attempt(folder, async () => {
    await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
    await writeFileWhole(join(folder, SVID.key), svid.keyPem, SECRET);
    await writeFileWhole(join(folder, SVID.certificate), svid.svidPem, PUBLIC);
    await writeFileWhole(join(folder, SVID.bundle), svid.bundlePem, PUBLIC);
  });
}

/** What a folder is in use for: the identity in it, an authority, something unknown; undefined when it is free. */
async function occupantOf(folder: string): Promise<SpiffeId | string | undefined> {
  if (await exists(join(folder, ROOT.key))) return "an authority";
  if (!(await exists(join(folder, SVID.certificate)))) return undefined;
  const pem = await readPublicFile(join(folder, SVID.certificate));
  const [leaf] = isFailure(pem) ? [] : certificatesOrNone(pem);
  const fields = leaf === undefined ? undefined : fieldsOf(leaf);
  return fields === undefined || isFailure(fields) ? `an unknown ${SVID.certificate}` : fields.uris.join(" and ");
}

function certificatesOrNone(pem: string): X509Certificate[] {
  const certificates = certificatesFromPem(pem, SVID.certificate);
  return isFailure(certificates) ? [] : certificates;
}

async function readPart(
  folder: string,
  names: typeof ROOT | typeof INTERMEDIATE,
): Promise<CertificateAndKey | Failure> {
  const certificatePem = await readPublicFile(join(folder, names.certificate));
  if (isFailure(certificatePem)) return certificatePem;
  const keyPem = await readKeyFile(join(folder, names.key));
  if (isFailure(keyPem)) return keyPem;
  const certificates = certificatesFromPem(certificatePem, join(folder, names.certificate));
  if (isFailure(certificates)) return certificates;
  try {
    if (certificates[0]?.checkPrivateKey(createPrivateKey(keyPem)) === true) return { certificatePem, keyPem };
    return fail("IDENTITY_MALFORMED", `${join(folder, names.key)} is not the key of ${names.certificate}`);
  } catch {
    return fail("IDENTITY_MALFORMED", `${join(folder, names.key)} is not a private key`);
  }
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

/** Writes beside the place and moves there, so that nobody ever reads half a file. */
async function writeFileWhole(path: string, text: string, mode: number): Promise<void> {
  const staging = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`);
  try {
    await using file = await open(staging, "wx", mode);
    // The mode of `open` is cut by the umask.
    await file.chmod(mode);
    await file.writeFile(text);
    await file.sync();
    await rename(staging, path);
  } catch (error) {
    await removeQuietly(staging);
    throw error;
  }
}

/** What went wrong first is what is told. */
async function removeQuietly(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch {
    // Where nothing could be written nothing is left.
  }
}

async function attempt(folder: string, write: () => Promise<void>): Promise<Failure | undefined> {
  try {
    await write();
    return undefined;
  } catch (error) {
    return unwritable(folder, error);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    return false;
  }
}

function unwritable(folder: string, error: unknown): Failure {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  return fail("IDENTITY_UNAVAILABLE", `${folder}: cannot be written (${code})`);
}
