// Machine. The folder of an authority as its server sees it: read whole, looked at again each second, swapped when it is whole again.
import { X509Certificate } from "node:crypto";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { readAuthority, writeIntermediate } from "./authority-folder.ts";
import { renewIntermediate } from "../ca/certificate-authority.ts";
import type { CertificateAuthority } from "../ca/certificate-authority.ts";
import type { AuthorityState, Issuer, TrustState } from "./authority-state.ts";

/** What commands write is seen within this time. */
const LOOK_MS = 1_000;

export interface FolderStateOptions {
  readonly folder: string;
  readonly clock: Clock;
  /** The folder holds nothing usable now; what was read last stays in use. Told once for each reason. */
  readonly onFailure: (failure: Failure) => void;
}

/** Opens a folder. Fails as `readAuthority`. */
export async function openFolderState(options: FolderStateOptions): Promise<AuthorityState | Failure> {
  const view = await readView(options.folder, options.clock, 1);
  return isFailure(view) ? view : new FolderState(options, view);
}

/** One reading of the folder. */
interface View {
  readonly authority: CertificateAuthority;
  readonly issuer: Issuer;
  readonly trust: TrustState;
}

class FolderState implements AuthorityState {
  readonly #options: FolderStateOptions;
  readonly #listeners = new Set<() => void>();
  readonly #timer: Timer;
  #view: View;
  #looking: Promise<void> | undefined;
  #told = "";

  constructor(options: FolderStateOptions, view: View) {
    this.#options = options;
    this.#view = view;
    this.#timer = options.clock.every(LOOK_MS, () => {
      this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    });
  }

  issuer(): Issuer {
    return this.#view.issuer;
  }

  trust(): TrustState {
    return this.#view.trust;
  }

  async record(): Promise<undefined> {
    return undefined;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#timer.cancel();
    this.#listeners.clear();
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { folder, clock, onFailure } = this.#options;
    const view = await readView(folder, clock, this.#view.trust.version + 1);
    if (isFailure(view)) {
      if (this.#told !== view.detail) onFailure(view);
      this.#told = view.detail;
      return;
    }
    this.#told = "";
    const old = this.#view;
    const sameIssuer = textOf(view.authority) === textOf(old.authority);
    const sameRoots = view.authority.root.certificatePem === old.authority.root.certificatePem;
    if (sameIssuer && sameRoots) return;
    this.#view = { ...view, trust: sameRoots ? old.trust : view.trust };
    for (const listener of this.#listeners) listener();
  }
}

async function readView(folder: string, clock: Clock, version: number): Promise<View | Failure> {
  const stored = await readAuthority(folder);
  if (isFailure(stored)) return stored;
  const authority = await renewIntermediate(stored, clock.now());
  const unwritten = authority === stored ? undefined : await writeIntermediate(folder, authority);
  if (unwritten !== undefined) return unwritten;
  const { trustDomain, root, intermediate } = authority;
  const bundle = bundleFromPem(trustDomain, root.certificatePem);
  if (isFailure(bundle)) return fail(bundle.code, `${folder}: ${bundle.detail}`);
  return {
    authority,
    issuer: {
      trustDomain,
      signer: intermediate,
      chainPem: intermediate.certificatePem,
      notAfter: Math.min(endOf(root.certificatePem), endOf(intermediate.certificatePem)),
    },
    trust: { version, bundles: new Map([[trustDomain, bundle]]), revocations: new Map(), crls: [] },
  };
}

function textOf({ intermediate }: CertificateAuthority): string {
  return intermediate.certificatePem + intermediate.keyPem;
}

function endOf(pem: string): number {
  return new X509Certificate(pem).validToDate.getTime();
}
