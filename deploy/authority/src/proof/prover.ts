// Machine. Decides who a caller is: by its token if it sends one, else by its certificate. What it asks for is not known here.
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { trustDomainOf, workloadId } from "@culvert/shared/identity/spiffe-id.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { VerifiedPeer } from "@culvert/shared/identity/verify.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { TokenStore } from "../state/token-store.ts";
import { looksLikeJoinToken, parseJoinToken } from "./join-token.ts";
import type { Caller, Proof, ServiceAccountVerifier } from "./proof.ts";

export interface ProverOptions {
  readonly trustDomain: TrustDomain;
  readonly tokens: TokenStore;
  /** Undefined where no tokens of Kubernetes are taken. */
  readonly serviceAccounts: ServiceAccountVerifier | undefined;
  readonly clock: Clock;
}

/** More than any cluster's tokens have; a check of the signature reads all of it. */
const MAX_TOKEN_LENGTH = 16 * 1024;

/**
 * The identity that a caller has proved. Fails with PROOF_MISSING, TOKEN_REFUSED, TOKEN_NOT_CHECKED, or with what is wrong with
 * the certificate (IDENTITY_EXPIRED, IDENTITY_REVOKED …).
 */
export async function proveIdentity(caller: Caller, options: ProverOptions): Promise<Proof | Failure> {
  const { authorization, certificate } = caller;
  if (authorization !== undefined) return byToken(authorization, options);
  if (certificate === undefined) return fail("PROOF_MISSING", "neither a token nor a client certificate");
  return isFailure(certificate) ? certificate : byCertificate(certificate, options.trustDomain);
}

/** The holder of one of our own certificates that counts now: the same identity again, and no other. */
export function byCertificate(peer: VerifiedPeer, trustDomain: TrustDomain): Proof | Failure {
  if (trustDomainOf(peer.id) !== trustDomain) {
    return fail("IDENTITY_UNTRUSTED", `${peer.id} is another trust domain's: it is for that one to renew`);
  }
  return { kind: "certificate", id: peer.id, by: `certificate ${peer.serial}`, spend: nothingToSpend };
}

async function byToken(authorization: string, options: ProverOptions): Promise<Proof | Failure> {
  const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
  if (token === undefined || token.length > MAX_TOKEN_LENGTH) {
    return fail("TOKEN_REFUSED", `the authorization is not one bearer token of at most ${MAX_TOKEN_LENGTH} characters`);
  }
  return looksLikeJoinToken(token) ? byJoinToken(token, options) : byServiceAccount(token, options);
}

async function byJoinToken(text: string, { tokens, trustDomain, clock }: ProverOptions): Promise<Proof | Failure> {
  const token = parseJoinToken(text);
  if (token === undefined) return fail("TOKEN_REFUSED", "the join token is malformed");
  const stored = await tokens.find(token, clock.now());
  if (isFailure(stored)) return stored;
  const id = workloadId(trustDomain, stored.namespace, stored.serviceAccount);
  if (isFailure(id)) return id;
  return { kind: "join-token", id, by: `join token ${stored.id}`, spend: () => tokens.spend(stored) };
}

async function byServiceAccount(token: string, options: ProverOptions): Promise<Proof | Failure> {
  const { serviceAccounts, trustDomain } = options;
  if (serviceAccounts === undefined) return fail("TOKEN_REFUSED", "not a join token, and no others are taken here");
  const account = await serviceAccounts.verify(token);
  if (isFailure(account)) return account;
  const id = workloadId(trustDomain, account.namespace, account.name);
  if (isFailure(id)) return id;
  return { kind: "kubernetes", id, by: account.by, spend: nothingToSpend };
}

async function nothingToSpend(): Promise<undefined> {
  return undefined;
}
