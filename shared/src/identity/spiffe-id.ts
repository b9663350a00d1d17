// Pure. SPIFFE IDs and trust domains by the grammar of the standard (SPIFFE-ID section 2), nothing more lenient.

declare const spiffeId: unique symbol;
declare const trustDomain: unique symbol;

/** A SPIFFE ID, `spiffe://<trust domain>/<path>`, that `parseSpiffeId` has checked. Comparable with `===`. */
export type SpiffeId = string & { readonly [spiffeId]: true };

/** A trust domain name, made by `parseTrustDomain` alone. */
export type TrustDomain = string & { readonly [trustDomain]: true };
