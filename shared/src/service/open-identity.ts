// Machine. Opens the identity that the configuration names, with everything that is laid over it. Only what is configured is loaded.
import type { IdentityConfig } from "../config/process-config.ts";
import { isFailure, type Failure } from "../failure/failure.ts";
import type { IdentityEvent, ReloadableSource } from "../identity/source.ts";
import { parseTrustDomain } from "../identity/spiffe-id.ts";
import type { Clock } from "../net/clock.ts";

/**
 * Opens it. Fails as its source does, or when something that is laid over it is missing or unfit. A source that asks others waits
 * for them, and tells by events what it waits for.
 */
export async function openIdentity(
  config: IdentityConfig,
  clock: Clock,
  onEvent: (event: IdentityEvent) => void,
): Promise<ReloadableSource | Failure> {
  const own = await openOrigin(config, clock, onEvent);
  if (isFailure(own) || config.trust === undefined) return own;
  const { layTrust } = await import("../identity/trust/layered-source.ts");
  return layTrust(own, { config: config.trust, clock, onEvent });
}

async function openOrigin(
  config: IdentityConfig,
  clock: Clock,
  onEvent: (event: IdentityEvent) => void,
): Promise<ReloadableSource | Failure> {
  if (config.kind === "files") {
    const { openFilesSource } = await import("../identity/sources/files.ts");
    return openFilesSource({ location: config.location, clock, onEvent });
  }
  if (config.kind === "workloadApi") {
    const { openWorkloadApi } = await import("../identity/sources/workload-api.ts");
    return openWorkloadApi({ socket: config.socket, hint: config.hint, clock, onEvent });
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
  };
  if (config.kind === "authority") return openAuthority(options);
  const trustDomain = parseTrustDomain(config.trustDomain);
  return isFailure(trustDomain) ? trustDomain : openIstiod({ ...options, trustDomain });
}
