// Pure. The keys of `identity` that say whom a process trusts beside what its identity brings.
import { isFailure } from "../../failure/failure.ts";
import { parseSpiffeId, parseTrustDomain, trustDomainOf } from "../../identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "../../identity/spiffe-id.ts";
import type { BundleEndpoint, BundlePlace, TrustConfig } from "../../identity/trust/trust-config.ts";
import { parseHost, splitHostPort } from "../../net/listen-address.ts";
import { isTrustDomain, path } from "./path-schema.ts";
import {
  either,
  INVALID,
  listOf,
  objectOf,
  oneOf,
  oneOrMore,
  optional,
  recordOf,
  refine,
  required,
  scalar,
  type Key,
  type Schema,
} from "./schema.ts";

/** The keys as they are written. */
export interface TrustKeys {
  readonly federation: ReadonlyMap<TrustDomain, BundlePlace> | undefined;
  readonly trustDomainAliases: readonly TrustDomain[] | undefined;
  readonly crl: readonly string[] | undefined;
}

const HTTPS_PORT = 443;
const MAX_TRUST_DOMAINS = 64;
const MAX_CRL_FILES = 16;

const httpsUrl = scalar("https://host[:port]/path", (value) => {
  const [, authority = "", rest = ""] = /^https:\/\/([^/?#@\s]+)([/?][^#\s]*)?$/.exec(String(value)) ?? [];
  if (!/^[\x21-\x7e]*$/.test(rest)) return undefined;
  const parts = splitHostPort(authority) ?? splitHostPort(`${authority}:${HTTPS_PORT}`);
  if (parts === undefined || parts.port === 0 || parseHost(parts.host) === undefined) return undefined;
  return { ...parts, path: rest.startsWith("/") ? rest : `/${rest}` };
});

const spiffeId: Schema<SpiffeId> = scalar("SPIFFE ID", (value) => {
  const id = parseSpiffeId(String(value));
  return isFailure(id) ? undefined : id;
});

const trustDomain: Schema<TrustDomain> = scalar("trust domain", (value) => {
  const domain = parseTrustDomain(String(value));
  return isFailure(domain) ? undefined : domain;
});

const endpoint: Schema<BundleEndpoint> = refine(
  objectOf({
    endpoint: required(httpsUrl, "URL of the SPIFFE bundle endpoint"),
    profile: required(oneOf("https_web", "https_spiffe"), "how the endpoint proves itself"),
    id: optional(spiffeId, "`https_spiffe`: who the endpoint must prove to be"),
    bundle: optional(path, "`https_spiffe`: the bundle to begin with; `https_web`: roots of the endpoint, PEM"),
  }),
  ({ endpoint: url, profile, id, bundle }, refuse) => {
    if (profile === "https_web") {
      return id === undefined ? { ...url, profile: { kind: profile, roots: bundle } } : refuse("https_web takes no id");
    }
    if (id === undefined || bundle === undefined) return refuse("https_spiffe needs id and bundle");
    return { ...url, profile: { kind: profile, id, bundle } };
  },
);

const federation: Schema<ReadonlyMap<TrustDomain, BundlePlace>> = refine(
  recordOf("trust domain", isTrustDomain, either(path, endpoint)),
  (places, refuse) => {
    if (places.size > MAX_TRUST_DOMAINS) return refuse(`has more than ${MAX_TRUST_DOMAINS} trust domains`);
    const federated = new Map<TrustDomain, BundlePlace>();
    for (const [name, place] of places) {
      const domain = parseTrustDomain(name);
      if (isFailure(domain)) return INVALID;
      if (
        typeof place !== "string" &&
        place.profile.kind === "https_spiffe" &&
        trustDomainOf(place.profile.id) !== domain
      ) {
        return refuse(`the endpoint of ${domain} must have an id of ${domain}, found ${place.profile.id}`);
      }
      federated.set(domain, place);
    }
    return federated;
  },
);

/** The table. */
export const TRUST_KEYS: { readonly [K in keyof TrustKeys]: Key<TrustKeys[K]> } = {
  federation: optional(federation, "bundles of further trust domains: PEM files, or their SPIFFE bundle endpoints"),
  trustDomainAliases: optional(
    refine(listOf(trustDomain), (aliases, refuse) =>
      aliases.length > MAX_TRUST_DOMAINS ? refuse(`has more than ${MAX_TRUST_DOMAINS} trust domains`) : aliases,
    ),
    "trust domains whose names stand for the same names in the own one; each needs a bundle of its own",
  ),
  crl: optional(
    refine(oneOrMore(path), (files, refuse) =>
      files.length > MAX_CRL_FILES ? refuse(`has more than ${MAX_CRL_FILES} files`) : files,
    ),
    "files of certificate revocation lists, PEM or DER",
  ),
};

/** What the keys mean; `undefined` where none is given. */
export function trustOf({ federation: places, trustDomainAliases, crl }: TrustKeys): TrustConfig | undefined {
  if (places === undefined && trustDomainAliases === undefined && crl === undefined) return undefined;
  return { federation: places ?? new Map(), aliases: trustDomainAliases ?? [], crls: crl ?? [] };
}
