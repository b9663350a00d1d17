// For tests: identities without files, and identity folders as operators mount them.
import { chmod, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { makeIdentity } from "@culvert/shared/identity/identity.ts";
import { svidFromPem } from "@culvert/shared/identity/svid.ts";
import type { Bundle, Identity, ReloadableSource } from "@culvert/shared/identity/source.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { mintSvid, svidName } from "./ca.ts";
import type { CertificateSpec, Minted, TestAuthority } from "./ca.ts";

/** An identity source that changes when the test says so. */
export interface TestSource extends ReloadableSource {
  replace(identity: Identity): void;
}

/** A whole identity of `ns/<namespace>/sa/<serviceAccount>`, trusting its own authority and `others`. */
export async function testIdentity(
  authority: TestAuthority,
  namespace: string,
  serviceAccount: string,
  others: readonly TestAuthority[] = [],
  spec: CertificateSpec = {},
): Promise<Identity> {
  const minted = await mintSvid(authority, svidName(authority, namespace, serviceAccount), spec);
  return identityOf(minted, [authority, ...others]);
}

/** The identity of a minted certificate that trusts `authorities`. */
export function identityOf(minted: Minted, authorities: readonly TestAuthority[]): Identity {
  const bundles = new Map<TrustDomain, Bundle>(
    authorities.map(({ trustDomain, bundlePem }) => [trustDomain, must(bundleFromPem(trustDomain, bundlePem))]),
  );
  return must(makeIdentity(must(svidFromPem(minted.chainPem, minted.keyPem)), bundles));
}

/** A source that holds `identity`. */
export function staticSource(identity: Identity): TestSource {
  const listeners = new Set<(identity: Identity) => void>();
  let current = identity;
  return {
    get: () => current,
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    reload: () => Promise.resolve(),
    state: { source: "test", state: "watching", nextInMs: undefined, failures: 0, lastFailure: undefined },
    close: () => listeners.clear(),
    replace: (next) => {
      current = next;
      for (const listener of listeners) listener(next);
    },
  };
}

/** File names of certificate, key and bundle in each layout of an identity folder. */
export const LAYOUTS = {
  culvert: ["svid.pem", "key.pem", "bundle.pem"],
  spire: ["svid.pem", "svid_key.pem", "svid_bundle.pem"],
  certManager: ["tls.crt", "tls.key", "ca.crt"],
  istio: ["cert-chain.pem", "key.pem", "root-cert.pem"],
} as const;

/** Writes an identity folder; each file appears whole. `others` go to `bundles/<trust domain>.pem`. */
export async function writeIdentityFolder(
  folder: string,
  minted: Minted,
  authority: TestAuthority,
  layout: keyof typeof LAYOUTS = "culvert",
  others: readonly TestAuthority[] = [],
): Promise<void> {
  const [certificate, key, bundle] = LAYOUTS[layout];
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeWhole(join(folder, key), minted.keyPem, 0o600);
  await writeWhole(join(folder, certificate), minted.chainPem, 0o644);
  await writeWhole(join(folder, bundle), authority.bundlePem, 0o644);
  if (others.length > 0) await mkdir(join(folder, "bundles"), { recursive: true });
  for (const other of others) {
    await writeWhole(join(folder, "bundles", `${other.trustDomain}.pem`), other.bundlePem, 0o644);
  }
}

/** Writes a file beside its place and moves it there. */
export async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  await writeFile(`${path}.new`, text);
  await chmod(`${path}.new`, mode);
  await rename(`${path}.new`, path);
}

/** The value of something that a test needs to succeed. */
export function must<T>(value: T | Failure): T {
  if (isFailure(value)) throw new Error(value.toString());
  return value;
}
