// Types. Whom a process trusts beside what its identity brings: bundles of other trust domains, aliases, revocation lists.
import type { SpiffeId, TrustDomain } from "../spiffe-id.ts";

/** Where a trust domain publishes its bundle (SPIFFE Federation section 5). */
export interface BundleEndpoint {
  readonly host: string;
  readonly port: number;
  /** With its leading slash, query included. */
  readonly path: string;
  readonly profile:
    | {
        readonly kind: "https_web";
        /** File with the roots of the server's certificate, PEM; `undefined`: the public ones. */
        readonly roots: string | undefined;
      }
    | {
        readonly kind: "https_spiffe";
        /** Who the server must prove to be, by the bundle of its own trust domain. */
        readonly id: SpiffeId;
        /** File with the bundle to begin with, PEM. */
        readonly bundle: string;
      };
}

/** Where the bundle of another trust domain comes from: a PEM file, watched, or its endpoint. */
export type BundlePlace = string | BundleEndpoint;

/** See the head of the file. */
export interface TrustConfig {
  readonly federation: ReadonlyMap<TrustDomain, BundlePlace>;
  /** Trust domains whose names stand for the same names in the own one. */
  readonly aliases: readonly TrustDomain[];
  /** Files of revocation lists, PEM or DER, watched. */
  readonly crls: readonly string[];
}
