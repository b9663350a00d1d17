// Machine. The identity for a command that decides without a running process. Loaded by such a command only.
import type { IdentityConfig } from "../config/process/process-config.ts";
import { fail, isFailure, type Failure } from "../failure/failure.ts";
import type { Identity, IdentityEvent, ReloadableSource, SourceState } from "../identity/source.ts";
import { pause, type Clock } from "../net/clock.ts";
import { openOrigin, withTrust } from "./open-identity.ts";

/** An agent that knows us answers at once. */
const AGENT_WAIT_MS = 5_000;

/**
 * The identity for a command that decides without a running process. It asks nobody for a certificate, for that could spend a token
 * of the process that is to run: of an authority only what is kept counts. An agent is not waited for long.
 */
export async function identityOffline(config: IdentityConfig, clock: Clock): Promise<Identity | Failure> {
  const own = await originOffline(config, clock);
  const source = await withTrust(config, clock, () => undefined, own);
  if (isFailure(source)) return source;
  source.close();
  return source.get();
}

async function originOffline(config: IdentityConfig, clock: Clock): Promise<ReloadableSource | Failure> {
  if (config.kind === "files") return openOrigin(config, clock, () => undefined, undefined);
  if (config.kind === "workloadApi") {
    const givingUp = new AbortController();
    let why = fail("IDENTITY_UNAVAILABLE", `${config.socket}: no answer`);
    const late = pause(AGENT_WAIT_MS).then(() => why);
    const onEvent = (event: IdentityEvent): void => {
      if (event.kind === "awaited") why = event.failure;
    };
    const first = await Promise.race([openOrigin(config, clock, onEvent, givingUp.signal), late]);
    givingUp.abort();
    return first;
  }
  const { readKeptIdentity } = await import("../identity/sources/kept-identity.ts");
  const kept = config.store === undefined ? undefined : await readKeptIdentity(config.store);
  const none = "only a running process asks for a certificate, and none is kept (`store`): use --admin";
  return kept === undefined ? fail("IDENTITY_UNAVAILABLE", none) : isFailure(kept) ? kept : still(kept);
}

/** A source that never changes. */
function still(identity: Identity): ReloadableSource {
  const state: SourceState = {
    source: "kept",
    state: "waiting",
    nextInMs: undefined,
    failures: 0,
    lastFailure: undefined,
  };
  return {
    get: () => identity,
    onChange: () => () => undefined,
    close: () => undefined,
    reload: async () => undefined,
    state,
  };
}
