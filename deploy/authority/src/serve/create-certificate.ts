// Machine. One request for a certificate, from the proof to the signature. The order is the rule: who is it, may it ask now, is the
// key its own, and only then is anything spent or signed.
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { MIN_SVID_LIFE_MS } from "../ca/certificate-authority.ts";
import { publicKeyOfCsr } from "../ca/csr.ts";
import { signSvid } from "../ca/sign.ts";
import type { SignedSvid } from "../ca/sign.ts";
import type { Caller, Proof } from "../proof/proof.ts";
import { proveIdentity } from "../proof/prover.ts";
import type { ProverOptions } from "../proof/prover.ts";
import type { AuditLog } from "../observe/audit-log.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import type { AuthorityState } from "../state/authority-state.ts";
import type { AuthorityMetrics } from "../observe/authority-metrics.ts";
import { addressKey, CallerRates } from "./caller-rates.ts";

/** What a caller asks for; only the key of the `csr` is its own to choose. */
export interface CertificateCall {
  readonly csr: string;
  /** Seconds; 0 or less is no wish. */
  readonly lifeSeconds: bigint;
  /** The identity that Istio's node agents ask for in place of their own. */
  readonly impersonated: string | undefined;
}

/** PEM: leaf, intermediates, and last the roots in one. */
export type CertificateChain = readonly string[];

export interface IssuerOptions {
  readonly state: AuthorityState;
  readonly prover: ProverOptions;
  /** Milliseconds: without a wish, and at most. */
  readonly lifeMs: number;
  readonly maxLifeMs: number;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  readonly audit: AuditLog;
  readonly metrics: AuthorityMetrics;
  /** Counts a failure by its code. */
  readonly onRefused: (failure: Failure) => void;
}

/** Issues certificates by calls. */
export class CertificateIssuer {
  readonly #options: IssuerOptions;
  readonly #rates: CallerRates;
  readonly #refusals: CallerRates;
  #calls = 0;

  constructor(options: IssuerOptions) {
    const { clock, limits } = options;
    this.#options = options;
    const most = limits.maxCallers;
    this.#rates = new CallerRates({ clock, burst: limits.callBurst, perSecond: limits.callsPerSecond, most });
    this.#refusals = new CallerRates({ clock, burst: limits.refusalBurst, perSecond: limits.refusalsPerSecond, most });
  }

  /** Answers one call, and writes its line. Fails with what is for the operator to know; the caller is told less. */
  async issue(caller: Caller, call: CertificateCall): Promise<CertificateChain | Failure> {
    const { clock, audit, metrics, onRefused } = this.#options;
    const startedMs = clock.monotonic();
    const step: { proof: Proof | undefined } = { proof: undefined };
    this.#calls += 1;
    const outcome = await this.#decide(caller, call, step).finally(() => (this.#calls -= 1));
    const durationMs = clock.monotonic() - startedMs;
    const audited = { method: "CreateCertificate", remote: caller.remote, proof: step.proof, durationMs } as const;
    if (isFailure(outcome)) {
      audit.refused(audited, outcome);
      onRefused(outcome);
      return outcome;
    }
    audit.issued(audited, outcome.signed);
    if (step.proof !== undefined) metrics.issued(step.proof.kind, durationMs);
    return outcome.chain;
  }

  async #decide(
    caller: Caller,
    call: CertificateCall,
    step: { proof: Proof | undefined },
  ): Promise<{ readonly chain: CertificateChain; readonly signed: SignedSvid } | Failure> {
    const { limits, clock, state, prover } = this.#options;
    if (this.#calls > limits.maxCalls) return fail("RATE_EXCEEDED", `${limits.maxCalls} calls are under way`);
    const proof = await this.#prove(caller, prover);
    if (isFailure(proof)) return proof;
    step.proof = proof;
    if (!this.#rates.take(proof.id)) return fail("RATE_EXCEEDED", `${proof.id} asks too often`);
    if (call.impersonated !== undefined && call.impersonated !== proof.id) {
      return fail("IMPERSONATION_REFUSED", `${proof.id} asks for ${JSON.stringify(call.impersonated.slice(0, 256))}`);
    }
    const publicKey = publicKeyOfCsr(call.csr);
    if (isFailure(publicKey)) return publicKey;
    const unspent = await proof.spend();
    if (unspent !== undefined) return unspent;
    const issuer = state.issuer();
    const { id } = proof;
    const signed = signSvid(issuer, { id, publicKey, lifeMs: this.#lifeOf(call), now: clock.now() });
    if (isFailure(signed)) return signed;
    const unkept = await state.record({ id, rootId: issuer.rootId, serial: signed.serial, notAfter: signed.notAfter });
    if (unkept !== undefined) return unkept;
    const roots = state.trust().bundles.get(trustDomainOf(id));
    return { chain: [signed.certificatePem, ...blocksOf(issuer.chainPem), roots?.pem ?? ""], signed };
  }

  /** Who was refused too often is not looked at for a while, unless it has a certificate that counts. */
  async #prove(caller: Caller, prover: ProverOptions): Promise<Proof | Failure> {
    const address = addressKey(hostOf(caller.remote));
    const hasCertificate = caller.certificate !== undefined && !("code" in caller.certificate);
    if (!hasCertificate && !this.#refusals.has(address))
      return fail("RATE_EXCEEDED", `${address} was refused too often`);
    const proof = await proveIdentity(caller, prover);
    if (isFailure(proof) && proof.code !== "TOKEN_NOT_CHECKED") this.#refusals.take(address);
    return proof;
  }

  #lifeOf({ lifeSeconds }: CertificateCall): number {
    const { lifeMs, maxLifeMs } = this.#options;
    if (lifeSeconds <= 0n) return lifeMs;
    // Any number of 64 bits may be asked for.
    const wanted = lifeSeconds > BigInt(maxLifeMs) ? maxLifeMs : Number(lifeSeconds) * 1_000;
    return Math.max(MIN_SVID_LIFE_MS, Math.min(wanted, maxLifeMs));
  }
}

/** The host of `ip:port` or `[ip]:port`. */
function hostOf(remote: string): string {
  return remote.slice(0, remote.lastIndexOf(":")).replace(/^\[(.*)\]$/, "$1");
}

function blocksOf(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?/g) ?? [];
}
