// Machine. Identity sources over the network, put together: Culvert's own authority, and Istio's.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Clock } from "../../net/clock.ts";
import type { IdentityEvent, ReloadableSource } from "../source.ts";
import { workloadId } from "../spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "../spiffe-id.ts";
import { openCaSource } from "./ca-source.ts";
import { nameOf, readRoots, signerAt } from "./certificate-signer.ts";
import type { AuthorityAddress } from "./certificate-signer.ts";
import { TrustStream } from "./trust-stream.ts";

/** What both kinds have. */
export interface AuthoritySourceOptions {
  readonly address: AuthorityAddress;
  readonly token: string | undefined;
  readonly store: string | undefined;
  readonly lifeMs: number;
  readonly clock: Clock;
  readonly onEvent: (event: IdentityEvent) => void;
  /** Gives up what is opened. */
  readonly signal?: AbortSignal | undefined;
}

/** An identity from Culvert's authority: a token proves us the first time, then each certificate the next one. */
export async function openAuthority(options: AuthoritySourceOptions): Promise<ReloadableSource | Failure> {
  const { address, clock } = options;
  const roots = await readRoots(address.bundle);
  if (isFailure(roots)) return roots;
  return openCaSource({
    ...options,
    roots,
    name: `authority: ${nameOf(address)}`,
    signer: signerAt(address, clock),
    renewsByCertificate: true,
    // A token tells the authority who we are, not us.
    expected: () => undefined,
    watchTrust: (identity, onState, onFailure) => new TrustStream({ address, clock, identity, onState, onFailure }),
  });
}

/** An identity from Istio's certificate service, which a service account token of Kubernetes proves each time. */
export async function openIstiod(
  options: AuthoritySourceOptions & { readonly trustDomain: TrustDomain },
): Promise<ReloadableSource | Failure> {
  const { address, clock, trustDomain } = options;
  const unfit = await readRoots(address.bundle);
  if (isFailure(unfit)) return unfit;
  return openCaSource({
    ...options,
    name: `istiod: ${nameOf(address)}`,
    signer: signerAt(address, clock),
    renewsByCertificate: false,
    expected: (token) => accountIn(token, trustDomain),
  });
}

/**
 * The workload that a service account token names. It is read, not verified: that is the authority's, and all that follows from it
 * here is which answer is refused. Fails with IDENTITY_UNAVAILABLE.
 */
export function accountIn(token: string, trustDomain: TrustDomain): SpiffeId | Failure {
  const subject = subjectOf(token);
  const [, namespace, account] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(subject ?? "") ?? [];
  if (namespace === undefined || account === undefined) {
    return fail("IDENTITY_UNAVAILABLE", "not a service account token of Kubernetes");
  }
  return workloadId(trustDomain, namespace, account);
}

function subjectOf(token: string): string | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    const subject = typeof claims === "object" && claims !== null && "sub" in claims ? claims.sub : undefined;
    return typeof subject === "string" ? subject : undefined;
  } catch {
    return undefined;
  }
}
