// Machine. Identity folders as the data plane reads them, written by `authority issue`.
import type { X509Certificate } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { fieldsOf } from "@culvert/shared/identity/certificate-fields.ts";
import { certificatesFromPem } from "@culvert/shared/identity/pem.ts";
import { readPublicFile } from "@culvert/shared/identity/read-file.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { IssuedSvid } from "../ca/certificate-authority.ts";
import { isAuthorityFolder } from "./authority-folder.ts";
import { writeFileWhole } from "@culvert/shared/identity/write-file.ts";
import { PRIVATE_FOLDER, PUBLIC, SECRET, attempt, exists } from "./files.ts";

const SVID = { certificate: "svid.pem", key: "key.pem", bundle: "bundle.pem" } as const;

/**
 * Writes an SVID into `folder`, made when it is not there. An earlier SVID of the same identity is replaced, each file in one
 * step; one of another identity, or an authority, is not. Fails with IDENTITY_UNAVAILABLE.
 */
export async function writeSvid(folder: string, svid: IssuedSvid): Promise<Failure | undefined> {
  const refused = await svidFolderProblem(folder, svid.id);
  if (refused !== undefined) return refused;
  return attempt(folder, async () => {
    await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
    await writeFileWhole(join(folder, SVID.key), svid.keyPem, SECRET);
    await writeFileWhole(join(folder, SVID.certificate), svid.svidPem, PUBLIC);
    await writeFileWhole(join(folder, SVID.bundle), svid.bundlePem, PUBLIC);
    return undefined;
  });
}

/** Why an SVID of `id` cannot be written into `folder`, if so. */
export async function svidFolderProblem(folder: string, id: SpiffeId): Promise<Failure | undefined> {
  const occupant = await occupantOf(folder);
  if (occupant === undefined || occupant === id) return undefined;
  return fail("IDENTITY_UNAVAILABLE", `${folder} holds ${occupant}; it is not overwritten with ${id}`);
}

/** What a folder is in use for: the identity in it, an authority, something unknown; undefined when it is free. */
async function occupantOf(folder: string): Promise<SpiffeId | string | undefined> {
  if (await isAuthorityFolder(folder)) return "an authority";
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
