// Machine. Identities for a mesh under test, made by the product's own authority into the folders that its programs read.
import { join } from "node:path";
import { writeAuthority } from "@culvert/authority/state/authority-folder.ts";
import { writeSvid } from "@culvert/authority/state/svid-folder.ts";
import { createAuthority, issueSvid, type CertificateAuthority } from "@culvert/authority/ca/certificate-authority.ts";
import { parseTrustDomain, workloadId } from "@culvert/shared/identity/spiffe-id.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { must } from "./identity.ts";

/** The trust domain of every mesh under test. */
export const TRUST_DOMAIN = "cluster.local";

const DAY_MS = 86_400_000;

/** Where the identity of an account lies: `svid.pem key.pem bundle.pem`. */
export interface IdentityFiles {
  readonly folder: string;
  readonly certificate: string;
  readonly key: string;
  readonly bundle: string;
}

/** The files of one account's identity. */
export function identityOf(folder: string, account: string): IdentityFiles {
  const own = join(folder, account);
  return {
    folder: own,
    certificate: join(own, "svid.pem"),
    key: join(own, "key.pem"),
    bundle: join(own, "bundle.pem"),
  };
}

/** The SPIFFE ID of an account in a namespace of the test trust domain. */
export function spiffeId(account: string, namespace = "default"): string {
  return `spiffe://${TRUST_DOMAIN}/ns/${namespace}/sa/${account}`;
}

/** An authority of a mesh under test; it lives in memory. */
export class MeshAuthority {
  readonly #authority: CertificateAuthority;

  private constructor(authority: CertificateAuthority) {
    this.#authority = authority;
  }

  static async create(): Promise<MeshAuthority> {
    return new MeshAuthority(await createAuthority(must(parseTrustDomain(TRUST_DOMAIN)), systemClock.now()));
  }

  /** Writes it into a folder, for `authority serve`. */
  async write(folder: string): Promise<void> {
    const failure = await writeAuthority(folder, this.#authority);
    if (failure !== undefined) throw new Error(failure.toString());
  }

  /** Issues an identity into `<folder>/<account>`; an earlier one of the same account is replaced, as in a rotation. */
  async issue(folder: string, account: string, options: IssueOptions = {}): Promise<IdentityFiles> {
    const { namespace = "default", lifeMs = DAY_MS } = options;
    const id = must(workloadId(this.#authority.trustDomain, namespace, account));
    const svid = must(issueSvid(this.#authority, id, lifeMs, systemClock.now()));
    const files = identityOf(folder, account);
    const failure = await writeSvid(files.folder, svid);
    if (failure !== undefined) throw new Error(failure.toString());
    return files;
  }
}

/** What an identity may have other than the usual. */
export interface IssueOptions {
  readonly namespace?: string;
  readonly lifeMs?: number;
}

/** Identities of several accounts of one fresh authority, in `<folder>/<account>`. */
export async function mintIdentities(folder: string, accounts: readonly string[]): Promise<void> {
  const authority = await MeshAuthority.create();
  await Promise.all(accounts.map((account) => authority.issue(folder, account)));
}
