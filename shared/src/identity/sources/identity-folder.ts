// Machine. Reads the files of an identity: finds the layout, bounds what is read, looks at the key's mode, and makes one
// identity of what it finds or says what is wrong with it. Holds nothing.
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { bundleFromPem } from "../bundle.ts";
import { makeIdentity } from "../identity.ts";
import { readKeyFile, readPublicFile, unreadable } from "../read-file.ts";
import type { Bundle, Identity } from "../source.ts";
import { parseTrustDomain, trustDomainOf } from "../spiffe-id.ts";
import type { TrustDomain } from "../spiffe-id.ts";
import { svidFromPem } from "../svid.ts";

/** Files named one by one; `bundles` maps each trust domain, one's own among them, to its file. */
export interface IdentityFiles {
  readonly certificate: string;
  readonly key: string;
  readonly bundles: Readonly<Record<string, string>>;
}

/** Where an identity lies: a folder in a known layout, or files by name. */
export type IdentityLocation = string | IdentityFiles;

/** What the files say, not yet understood. Equal texts and paths are equal identities. */
export interface IdentityTexts {
  readonly certificate: string;
  readonly key: string;
  /** The bundle of the certificate's own trust domain, when the layout has a file for it. */
  readonly ownBundle: string | undefined;
  readonly bundles: ReadonlyMap<TrustDomain, string>;
  /** The folders that a change shows itself in. */
  readonly folders: ReadonlySet<string>;
}

interface Layout {
  readonly certificate: string;
  readonly key: string;
  readonly bundle: string;
}

/** File names of Culvert's own authority, SPIRE's helper, cert-manager and Istio, in this order. */
const LAYOUTS: readonly Layout[] = [
  { certificate: "svid.pem", key: "key.pem", bundle: "bundle.pem" },
  { certificate: "svid.pem", key: "svid_key.pem", bundle: "svid_bundle.pem" },
  { certificate: "tls.crt", key: "tls.key", bundle: "ca.crt" },
  { certificate: "cert-chain.pem", key: "key.pem", bundle: "root-cert.pem" },
];

/** Folder of the bundles of further trust domains, beside the files of a layout. */
const BUNDLES = "bundles";
const PEM = ".pem";

const MAX_BUNDLES = 64;
/** Paths of one identity. */
interface Paths {
  readonly certificate: string;
  readonly key: string;
  readonly ownBundle: string | undefined;
  readonly bundles: ReadonlyMap<TrustDomain, string>;
}

/**
 * Reads the files at `location`. Fails with IDENTITY_UNAVAILABLE when one is missing, not a plain file, too large, or is a
 * key that others may read, and with IDENTITY_MALFORMED for a name that is no trust domain.
 */
export async function readIdentityTexts(location: IdentityLocation): Promise<IdentityTexts | Failure> {
  const paths = typeof location === "string" ? await findLayout(location) : namedFiles(location);
  if (isFailure(paths)) return paths;
  // The key last: a writer that follows the usual order has then written all.
  const certificate = await readPublicFile(paths.certificate);
  if (isFailure(certificate)) return certificate;
  const ownBundle = paths.ownBundle === undefined ? undefined : await readPublicFile(paths.ownBundle);
  if (isFailure(ownBundle)) return ownBundle;
  const bundles = new Map<TrustDomain, string>();
  for (const [domain, path] of paths.bundles) {
    const text = await readPublicFile(path);
    if (isFailure(text)) return text;
    bundles.set(domain, text);
  }
  const key = await readKeyFile(paths.key);
  if (isFailure(key)) return key;
  const files = [paths.certificate, paths.key, paths.ownBundle ?? paths.certificate, ...paths.bundles.values()];
  return { certificate, key, ownBundle, bundles, folders: new Set(files.map((file) => dirname(file))) };
}

/**
 * Makes an identity of the texts, valid at `now` (milliseconds since the epoch). Fails with IDENTITY_MALFORMED,
 * IDENTITY_UNTRUSTED, IDENTITY_EXPIRED or IDENTITY_UNAVAILABLE.
 */
export function identityFromTexts(texts: IdentityTexts, now: number): Identity | Failure {
  const svid = svidFromPem(texts.certificate, texts.key);
  if (isFailure(svid)) return svid;
  if (now > svid.notAfter) {
    return fail("IDENTITY_EXPIRED", `${svid.id}: the certificate ended at ${new Date(svid.notAfter).toISOString()}`);
  }
  const own = trustDomainOf(svid.id);
  if (texts.ownBundle !== undefined && texts.bundles.has(own)) {
    return fail("IDENTITY_MALFORMED", `${BUNDLES}/${own}${PEM}: the bundle of the own trust domain is already given`);
  }
  const all = texts.ownBundle === undefined ? texts.bundles : new Map([...texts.bundles, [own, texts.ownBundle]]);
  const bundles = new Map<TrustDomain, Bundle>();
  for (const [domain, pem] of all) {
    const bundle = bundleFromPem(domain, pem);
    if (isFailure(bundle)) return bundle;
    bundles.set(domain, bundle);
  }
  return makeIdentity(svid, bundles);
}

function namedFiles({ certificate, key, bundles: named }: IdentityFiles): Paths | Failure {
  const bundles = new Map<TrustDomain, string>();
  for (const [name, path] of Object.entries(named)) {
    const domain = parseTrustDomain(name);
    if (isFailure(domain)) return domain;
    bundles.set(domain, path);
  }
  return { certificate, key, ownBundle: undefined, bundles };
}

async function findLayout(folder: string): Promise<Paths | Failure> {
  const present = await namesIn(folder);
  if (isFailure(present)) return present;
  const layouts = LAYOUTS.filter((layout) => Object.values(layout).every((name: string) => present.includes(name)));
  const [layout, second] = layouts;
  if (layout === undefined) {
    const expected = LAYOUTS.map(({ certificate, key, bundle }) => `${certificate}+${key}+${bundle}`).join(", ");
    const found = present.slice(0, 16).join(", ") || "nothing";
    return fail("IDENTITY_UNAVAILABLE", `${folder}: expected one of ${expected}; found ${found}`);
  }
  if (second !== undefined) {
    const both = `${layout.certificate}+${layout.key} and ${second.certificate}+${second.key}`;
    return fail("IDENTITY_UNAVAILABLE", `${folder}: holds two identities, ${both}`);
  }
  const bundles = present.includes(BUNDLES) ? await findBundles(join(folder, BUNDLES)) : new Map<TrustDomain, string>();
  if (isFailure(bundles)) return bundles;
  return {
    certificate: join(folder, layout.certificate),
    key: join(folder, layout.key),
    ownBundle: join(folder, layout.bundle),
    bundles,
  };
}

async function findBundles(folder: string): Promise<Map<TrustDomain, string> | Failure> {
  const names = await namesIn(folder);
  if (isFailure(names)) return names;
  const files = names.filter((name) => name.endsWith(PEM));
  if (files.length > MAX_BUNDLES) return fail("IDENTITY_UNAVAILABLE", `${folder}: more than ${MAX_BUNDLES} bundles`);
  const bundles = new Map<TrustDomain, string>();
  for (const name of files) {
    const domain = parseTrustDomain(name.slice(0, -PEM.length));
    if (isFailure(domain)) return fail(domain.code, `${join(folder, name)}: ${domain.detail}`);
    bundles.set(domain, join(folder, name));
  }
  return bundles;
}

async function namesIn(folder: string): Promise<string[] | Failure> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (error) {
    return unreadable(folder, error);
  }
}
