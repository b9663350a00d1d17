// Machine. Opens the identity that the configuration names, with everything that is laid over it, and waits for the first one. Only
// what is configured is loaded.
import type { IdentityConfig } from "../config/process/process-config.ts";
import { isFailure, type Failure } from "../failure/failure.ts";
import type { IdentityEvent, ReloadableSource } from "../identity/source.ts";
import { parseTrustDomain } from "../identity/spiffe-id.ts";
import { keepProcess, type Clock } from "../net/clock.ts";

/** What waiting needs. */
export interface FirstIdentityOptions {
  readonly config: IdentityConfig;
  readonly clock: Clock;
  readonly onEvent: (event: IdentityEvent) => void;
  /** Told again and again, one line each, while there is none. */
  readonly onWaiting: (reason: string) => void;
  /** Settles when the process is to end. */
  readonly ended: Promise<void>;
}

/**
 * Opens the source and waits for its first identity, however long that takes: whoever starts us knows best when to give up. Meanwhile the
 * process is kept alive, may be ended, and says what it waits for.
 * Fails when waiting is of no use, such as without a file that is configured; undefined when the process is to end.
 */
export async function firstIdentity(options: FirstIdentityOptions): Promise<ReloadableSource | Failure | undefined> {
  const { config, clock, onEvent, onWaiting, ended } = options;
  const givingUp = new AbortController();
  // No timer of ours does, and a port for readiness there need not be.
  const letGo = keepProcess();
  const take = (event: IdentityEvent): void => {
    if (event.kind === "awaited") onWaiting(`${event.failure.code} ${event.failure.toString()}`);
    onEvent(event);
  };
  try {
    const first = await Promise.race([openIdentity(config, clock, take, givingUp.signal), ended]);
    if (first === undefined) givingUp.abort();
    return first ?? undefined;
  } finally {
    letGo();
  }
}

/**
 * Opens it. Fails as its source does, or when something that is laid over it is missing or unfit. A source that asks others waits
 * for them, and tells by events what it waits for; `signal` gives that up.
 */
export async function openIdentity(
  config: IdentityConfig,
  clock: Clock,
  onEvent: (event: IdentityEvent) => void,
  signal?: AbortSignal,
): Promise<ReloadableSource | Failure> {
  return withTrust(config, clock, onEvent, await openOrigin(config, clock, onEvent, signal));
}

/** Lays over a source what is configured beside it. */
export async function withTrust(
  config: IdentityConfig,
  clock: Clock,
  onEvent: (event: IdentityEvent) => void,
  own: ReloadableSource | Failure,
): Promise<ReloadableSource | Failure> {
  if (isFailure(own) || config.trust === undefined) return own;
  const { layTrust } = await import("../identity/trust/layered-source.ts");
  return layTrust(own, { config: config.trust, clock, onEvent });
}

/** Opens what brings the certificate. */
export async function openOrigin(
  config: IdentityConfig,
  clock: Clock,
  onEvent: (event: IdentityEvent) => void,
  signal: AbortSignal | undefined,
): Promise<ReloadableSource | Failure> {
  if (config.kind === "files") {
    const { openFilesSource } = await import("../identity/sources/files.ts");
    return openFilesSource({ location: config.location, clock, onEvent });
  }
  if (config.kind === "workloadApi") {
    const { openWorkloadApi } = await import("../identity/sources/workload-api.ts");
    return openWorkloadApi({ socket: config.socket, hint: config.hint, clock, onEvent, signal });
  }
  const { openAuthority, openIstiod } = await import("../identity/sources/open-authority.ts");
  const { bundle, serverName, token, store } = config;
  const options = {
    address: { ...config.address, bundle, serverName },
    token,
    store,
    lifeMs: config.life,
    clock,
    onEvent,
    signal,
  };
  if (config.kind === "authority") return openAuthority(options);
  const trustDomain = parseTrustDomain(config.trustDomain);
  return isFailure(trustDomain) ? trustDomain : openIstiod({ ...options, trustDomain });
}
