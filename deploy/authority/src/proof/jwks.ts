// Machine. Service account tokens checked here, by the keys of the cluster in a file: no call to anybody. What such a check cannot
// know is that a pod or its account has been deleted since; the token's own end bounds it.
import { stat } from "node:fs/promises";
import { createLocalJWKSet, errors, jwtVerify } from "jose";
import type { JSONWebKeySet, JWTPayload, LocalJWKSet } from "jose";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { readPublicFile } from "@culvert/shared/identity/read-file.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { ServiceAccount, ServiceAccountVerifier } from "./proof.ts";
import { serviceAccountOf } from "./service-account.ts";

/** What a token must be. */
export interface JwksOptions {
  /** File with the cluster's keys (RFC 7517), as `kubectl get --raw /openid/v1/jwks` writes it. */
  readonly jwks: string;
  readonly issuer: string;
  readonly audience: string;
  readonly clock: Clock;
}

/** Public keys only: with a shared secret, who can check a token could make one. */
const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
/** The API server's clock and ours differ a little, and its tokens are used the moment that they are made. */
const CLOCK_TOLERANCE_S = 30;
/** How often the file is looked at while tokens come. */
const LOOK_MS = 1_000;

/** Opens the file of keys. Fails with IDENTITY_UNAVAILABLE when it cannot be read or holds no key set. */
export async function openJwksVerifier(options: JwksOptions): Promise<ServiceAccountVerifier | Failure> {
  const verifier = new JwksVerifier(options);
  const failure = await verifier.read();
  return failure ?? verifier;
}

class JwksVerifier implements ServiceAccountVerifier {
  readonly #options: JwksOptions;
  #keys: LocalJWKSet | undefined;
  #stamp = "";
  #lookedAtMs = -Infinity;

  constructor(options: JwksOptions) {
    this.#options = options;
  }

  async verify(token: string): Promise<ServiceAccount | Failure> {
    await this.#look();
    const { issuer, audience, clock } = this.#options;
    // The file was read when it was opened, and what cannot be read later leaves the last keys in use.
    if (this.#keys === undefined) return fail("TOKEN_NOT_CHECKED", "no keys");
    try {
      const { payload } = await jwtVerify(token, this.#keys, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        requiredClaims: ["exp", "sub"],
        clockTolerance: CLOCK_TOLERANCE_S,
        currentDate: new Date(clock.now()),
      });
      const account = serviceAccountOf(payload.sub);
      return isFailure(account) ? account : (mismatch(payload, account) ?? { ...account, by: holderOf(payload) });
    } catch (error) {
      return fail("TOKEN_REFUSED", `service account token: ${reasonOf(error)}`);
    }
  }

  close(): void {
    this.#keys = undefined;
  }

  /** Reads the keys anew. Fails when they cannot be used; the last ones stay. */
  async read(): Promise<Failure | undefined> {
    const { jwks } = this.#options;
    const text = await readPublicFile(jwks);
    if (isFailure(text)) return text;
    try {
      this.#keys = createLocalJWKSet(JSON.parse(text) as JSONWebKeySet);
      return undefined;
    } catch {
      return fail("IDENTITY_UNAVAILABLE", `${jwks}: not a JSON Web Key Set`);
    }
  }

  /** A cluster's keys change a few times a year: one look a second, and only while tokens come. */
  async #look(): Promise<void> {
    const now = this.#options.clock.monotonic();
    if (now - this.#lookedAtMs < LOOK_MS) return;
    this.#lookedAtMs = now;
    const stamp = await stampOf(this.#options.jwks);
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    await this.read();
  }
}

async function stampOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs } = await stat(path);
    return `${ino} ${size} ${mtimeMs}`;
  } catch {
    return "gone";
  }
}

/** The private claim of Kubernetes says the same as the subject; if it does not, somebody else has made the token. */
function mismatch(payload: JWTPayload, { namespace, name }: { namespace: string; name: string }): Failure | undefined {
  const claim = payload["kubernetes.io"];
  if (claim === undefined) return undefined;
  const { namespace: claimed, serviceaccount } = objectOf(claim);
  const { name: account } = objectOf(serviceaccount);
  return claimed === namespace && account === name
    ? undefined
    : fail("TOKEN_REFUSED", "service account token: its claims contradict each other");
}

function holderOf(payload: JWTPayload): string {
  const pod = objectOf(objectOf(payload["kubernetes.io"])["pod"])["name"];
  if (typeof pod === "string") return `pod ${pod}`;
  return payload.jti === undefined ? "" : `token ${payload.jti}`;
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTClaimValidationFailed) return `claim ${error.claim}: ${error.reason}`;
  if (error instanceof errors.JOSEError) return error.message;
  return "cannot be read";
}
