// Machine. An identity source over another one: the certificate is the other's, and whom it trusts is its own, too: bundles of
// federated trust domains, aliases, revocation lists. Loaded only where one of these is configured.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import { bundleFromPem } from "../bundle.ts";
import { makeIdentity, sameTrust, selfCheck } from "../identity.ts";
import { certificatesFromPem } from "../pem.ts";
import type {
  Bundle,
  Identity,
  IdentityEvent,
  ReloadableSource,
  RevocationList,
  Revocations,
  SourceState,
} from "../source.ts";
import { trustDomainOf } from "../spiffe-id.ts";
import type { TrustDomain } from "../spiffe-id.ts";
import type { BundlePoll } from "./bundle-poll.ts";
import type { EndpointProof } from "./fetch-bundle.ts";
import {
  authoritiesOf,
  joinRevocations,
  MAX_CRL_FILE_BYTES,
  nameOf,
  revocationListsFromFile,
  staleLists,
  takeRevocations,
} from "./revocations.ts";
import type { BundleEndpoint, TrustConfig } from "./trust-config.ts";
import { TrustFiles } from "./trust-files.ts";
import type { TrustFile } from "./trust-files.ts";

/** What `layTrust` needs. */
export interface LayeredSourceOptions {
  readonly config: TrustConfig;
  readonly clock: Clock;
  readonly onEvent: (event: IdentityEvent) => void;
}

const MAX_BUNDLE_BYTES = 1024 * 1024;
const STALE_CHECK_MS = 60_000;

/**
 * Lays bundles, aliases and revocation lists over `base`, which it then owns. Fails when a file is missing or unfit, or when a
 * bundle is configured for the own trust domain; endpoints are asked in the background, and until one has answered its trust
 * domain has the bundle that its file or `base` brings, or none.
 */
export async function layTrust(
  base: ReloadableSource,
  options: LayeredSourceOptions,
): Promise<ReloadableSource | Failure> {
  const source = new Layered(base, options);
  const failure = await source.open();
  if (failure === undefined) return source;
  source.close();
  return failure;
}

class Layered implements ReloadableSource {
  readonly #base: ReloadableSource;
  readonly #options: LayeredSourceOptions;
  readonly #files: TrustFiles;
  readonly #listeners = new Set<(identity: Identity) => void>();
  readonly #polls: BundlePoll[] = [];
  /** Bundles of our own; `undefined`: the trust domain has taken all of its roots back. */
  readonly #bundles = new Map<TrustDomain, Bundle | undefined>();
  /** Roots of web servers, PEM, by the trust domain whose endpoint they serve. */
  readonly #webRoots = new Map<TrustDomain, string>();
  readonly #revocations = new Map<string, Revocations>();
  readonly #toldStale = new WeakSet<RevocationList>();
  readonly #toldAliases = new Set<TrustDomain>();
  readonly #staleCheck: Timer;
  readonly #stopWatching: () => void;
  #identity: Identity;

  constructor(base: ReloadableSource, options: LayeredSourceOptions) {
    const { clock, config, onEvent } = options;
    this.#base = base;
    this.#options = options;
    this.#identity = base.get();
    this.#files = new TrustFiles({
      files: this.#trustFiles(config),
      clock,
      onTaken: () => this.#compose(),
      onKept: (failure) => onEvent({ kind: "kept", failure }),
      onUnwatched: (folder, reason) => onEvent({ kind: "unwatched", folder, reason }),
    });
    this.#staleCheck = clock.every(STALE_CHECK_MS, () => this.#tellStale());
    this.#stopWatching = base.onChange(() => this.#compose());
  }

  async open(): Promise<Failure | undefined> {
    const unfit = await this.#files.open();
    if (unfit !== undefined) return unfit;
    const identity = this.#make();
    if (isFailure(identity)) return identity;
    this.#identity = identity;
    this.#tellDoubts();
    await this.#openPolls();
    return undefined;
  }

  get(): Identity {
    return this.#identity;
  }

  onChange(listener: (identity: Identity) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async reload(): Promise<void> {
    await Promise.all([this.#base.reload(), this.#files.reload()]);
  }

  /** The certificate comes from below, and so does what is told of it. */
  get state(): SourceState {
    return this.#base.state;
  }

  close(): void {
    for (const poll of this.#polls) poll.close();
    this.#staleCheck.cancel();
    this.#stopWatching();
    this.#files.close();
    this.#listeners.clear();
    this.#base.close();
  }

  /** Bundles before lists, so that a list finds its issuer. */
  #trustFiles({ federation, crls }: TrustConfig): readonly TrustFile[] {
    const files: TrustFile[] = [];
    for (const [domain, place] of federation) {
      const takeBundle = (path: string): TrustFile => ({
        path,
        maxBytes: MAX_BUNDLE_BYTES,
        take: (bytes) => this.#takeBundle(domain, path, bytes),
      });
      if (typeof place === "string") files.push(takeBundle(place));
      else if (place.profile.kind === "https_spiffe") files.push(takeBundle(place.profile.bundle));
      else if (place.profile.roots !== undefined) {
        const path = place.profile.roots;
        files.push({ path, maxBytes: MAX_BUNDLE_BYTES, take: (bytes) => this.#takeWebRoots(domain, path, bytes) });
      }
    }
    for (const path of crls) {
      files.push({ path, maxBytes: MAX_CRL_FILE_BYTES, take: (bytes) => this.#takeLists(path, bytes) });
    }
    return files;
  }

  #takeBundle(domain: TrustDomain, path: string, bytes: Buffer): Failure | undefined {
    const bundle = bundleFromPem(domain, bytes.toString("utf8"));
    if (isFailure(bundle)) return fail(bundle.code, `${path}: ${bundle.detail}`);
    this.#bundles.set(domain, bundle);
    return undefined;
  }

  #takeWebRoots(domain: TrustDomain, path: string, bytes: Buffer): Failure | undefined {
    const pem = bytes.toString("utf8");
    const roots = certificatesFromPem(pem, path);
    if (isFailure(roots)) return roots;
    this.#webRoots.set(domain, pem);
    return undefined;
  }

  #takeLists(path: string, bytes: Buffer): Failure | undefined {
    const lists = revocationListsFromFile(bytes, path);
    if (isFailure(lists)) return lists;
    const before = this.#revocations.get(path) ?? new Map();
    const { bundles, svid } = this.#base.get();
    const authorities = authoritiesOf(this.#joinBundles(bundles), svid.chain);
    const { revocations, problems } = takeRevocations(before, lists, authorities);
    this.#revocations.set(path, revocations);
    for (const { code, detail } of problems) {
      this.#options.onEvent({ kind: "doubtful", failure: fail(code, `${path}: ${detail}`) });
    }
    return undefined;
  }

  async #openPolls(): Promise<void> {
    const { config, clock, onEvent } = this.#options;
    const endpoints = [...config.federation].filter((entry): entry is [TrustDomain, BundleEndpoint] => {
      return typeof entry[1] !== "string";
    });
    if (endpoints.length === 0) return;
    const { BundlePoll } = await import("./bundle-poll.ts");
    for (const [trustDomain, endpoint] of endpoints) {
      const poll = new BundlePoll({
        trustDomain,
        endpoint,
        clock,
        proof: () => this.#proofOf(trustDomain, endpoint),
        onBundle: (bundle) => {
          if (this.#bundles.has(trustDomain) && this.#bundles.get(trustDomain)?.pem === bundle?.pem) return;
          this.#bundles.set(trustDomain, bundle);
          this.#compose();
        },
        onFailure: (failure) => onEvent({ kind: "kept", failure }),
      });
      this.#polls.push(poll);
    }
  }

  #proofOf(trustDomain: TrustDomain, { profile }: BundleEndpoint): EndpointProof | Failure {
    if (profile.kind === "https_web") return { kind: "web", roots: this.#webRoots.get(trustDomain) };
    const bundle = this.#bundles.get(trustDomain);
    if (bundle === undefined) return fail("IDENTITY_UNTRUSTED", `bundle of ${trustDomain}: all roots were taken back`);
    return { kind: "spiffe", id: profile.id, bundles: new Map([[trustDomain, bundle]]) };
  }

  #compose(): void {
    const identity = this.#make();
    if (isFailure(identity)) return this.#options.onEvent({ kind: "kept", failure: identity });
    const before = this.#identity;
    if (identity.svid === before.svid && sameTrust(identity, before)) return;
    this.#identity = identity;
    if (!sameTrust(identity, before)) this.#options.onEvent({ kind: "trust-changed", identity });
    this.#tellDoubts();
    for (const listener of this.#listeners) listener(identity);
  }

  #make(): Identity | Failure {
    const { svid, bundles, revocations, aliases } = this.#base.get();
    const { federation, aliases: further } = this.#options.config;
    const own = trustDomainOf(svid.id);
    if (federation.has(own)) {
      return fail(
        "IDENTITY_MALFORMED",
        `federation: ${own} is the own trust domain; its bundle comes with the identity`,
      );
    }
    return makeIdentity(svid, this.#joinBundles(bundles), {
      revocations: joinRevocations(revocations, ...this.#revocations.values()),
      aliases: new Set([...aliases, ...further].filter((alias) => alias !== own)),
    });
  }

  #joinBundles(bundles: ReadonlyMap<TrustDomain, Bundle>): ReadonlyMap<TrustDomain, Bundle> {
    const joined = new Map(bundles);
    for (const [domain, bundle] of this.#bundles) {
      if (bundle === undefined) joined.delete(domain);
      else joined.set(domain, bundle);
    }
    return joined;
  }

  #tellDoubts(): void {
    const { clock, onEvent } = this.#options;
    // What else is wrong with our own certificate is told by the source below.
    const own = selfCheck(this.#identity, clock.now());
    if (own?.code === "IDENTITY_REVOKED") onEvent({ kind: "doubtful", failure: own });
    for (const alias of this.#identity.aliases) {
      if (this.#identity.bundles.has(alias) || this.#toldAliases.has(alias)) continue;
      this.#toldAliases.add(alias);
      const failure = fail("IDENTITY_UNTRUSTED", `trust domain ${alias} is an alias and has no bundle here`);
      onEvent({ kind: "doubtful", failure });
    }
    this.#tellStale();
  }

  #tellStale(): void {
    const { clock, onEvent } = this.#options;
    for (const list of staleLists(this.#identity.revocations, clock.now())) {
      if (this.#toldStale.has(list)) continue;
      this.#toldStale.add(list);
      const since = new Date(list.nextUpdate ?? 0).toISOString();
      const failure = fail("IDENTITY_EXPIRED", `${nameOf(list)}: a newer one was due at ${since}; it stays in force`);
      onEvent({ kind: "doubtful", failure });
    }
  }
}
