// Machine. The last certificate and key of a workload in one file of its own: after a restart a one-time token is spent, and the
// authority may be away. One file, so that key and certificate are never of two different answers.
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { codeOf, readKeyFile } from "../read-file.ts";
import type { Identity } from "../source.ts";
import { trustDomainOf } from "../spiffe-id.ts";
import { writeFileWhole } from "../write-file.ts";
import { identityFromAnswer } from "./answer.ts";

const SECRET = 0o600;
const SECRET_FOLDER = 0o700;
const KEY = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n?/;

/**
 * Reads the identity that was kept at `path`; undefined where there is no file. Fails with IDENTITY_UNAVAILABLE when it cannot be
 * read or others may read it, and as `identityFromAnswer` when it holds no identity.
 */
export async function readKeptIdentity(path: string): Promise<Identity | undefined | Failure> {
  const text = await readKeyFile(path);
  if (isFailure(text)) return text.detail.includes("(ENOENT)") ? undefined : text;
  const [keyPem] = KEY.exec(text) ?? [];
  if (keyPem === undefined) return fail("IDENTITY_MALFORMED", `${path}: holds no private key`);
  const identity = identityFromAnswer([text.replace(keyPem, "")], keyPem);
  return isFailure(identity) ? fail(identity.code, `${path}: ${identity.detail}`) : identity;
}

/** Keeps an identity at `path`: key, chain and the roots of its own trust domain. Fails with IDENTITY_UNAVAILABLE. */
export async function keepIdentity(path: string, { svid, bundles }: Identity): Promise<Failure | undefined> {
  const roots = bundles.get(trustDomainOf(svid.id))?.pem ?? "";
  try {
    await mkdir(dirname(path), { recursive: true, mode: SECRET_FOLDER });
    await writeFileWhole(path, svid.keyPem + svid.chainPem + roots, SECRET);
    return undefined;
  } catch (error) {
    return fail("IDENTITY_UNAVAILABLE", `${path}: the identity cannot be kept (${codeOf(error)})`);
  }
}
