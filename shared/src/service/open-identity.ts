// Machine. Opens the identity that the configuration names, with everything that is laid over it. Only what is configured is loaded.
import type { IdentityConfig } from "../config/process-config.ts";
import { isFailure, type Failure } from "../failure/failure.ts";
import { openFilesSource, type FilesSource, type IdentityEvent } from "../identity/files.ts";
import type { TrustEvent } from "../identity/trust/layered-source.ts";
import type { Clock } from "../net/clock.ts";

/** Opens it. Fails as its source does, or when something that is laid over it is missing or unfit. */
export async function openIdentity(
  { location, trust }: IdentityConfig,
  clock: Clock,
  onEvent: (event: IdentityEvent | TrustEvent) => void,
): Promise<FilesSource | Failure> {
  const own = await openFilesSource({ location, clock, onEvent });
  if (isFailure(own) || trust === undefined) return own;
  const { layTrust } = await import("../identity/trust/layered-source.ts");
  return layTrust(own, { config: trust, clock, onEvent });
}
