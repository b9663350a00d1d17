// Machine. The port put together: who listens, what is served there, who decides. Knows neither configuration nor process.
import { CONFIG_STREAM_PATH } from "@culvert/shared/config/stream/frames.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { IdentitySource } from "@culvert/shared/identity/source.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { ServiceAccountVerifier } from "../proof/proof.ts";
import type { ConfigStreams } from "../config-stream/config-streams.ts";
import type { TokenStore } from "../state/token-store.ts";
import type { AuditLog } from "../observe/audit-log.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import type { AuthorityMetrics } from "../observe/authority-metrics.ts";
import type { AuthorityState } from "../state/authority-state.ts";
import { serveCall } from "./call.ts";
import { CertificateIssuer } from "./create-certificate.ts";
import { listen } from "./listener.ts";
import type { Listener } from "./listener.ts";
import { handlersOf } from "./services.ts";
import { TrustWatchers } from "./watch-trust.ts";

export interface PortOptions {
  readonly host: string;
  readonly port: number;
  readonly state: AuthorityState;
  readonly identity: IdentitySource;
  readonly tokens: TokenStore;
  /** Undefined where no tokens of Kubernetes are taken. */
  readonly serviceAccounts: ServiceAccountVerifier | undefined;
  /** Milliseconds: life of a certificate without a wish, and at most. */
  readonly lifeMs: number;
  readonly maxLifeMs: number;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  readonly audit: AuditLog;
  readonly metrics: AuthorityMetrics;
  /** Counts a call that was refused; its line is the audit's. */
  readonly onRefused: (failure: Failure) => void;
  /** A connection or session was refused, or ended by us. */
  readonly onDropped: (remote: string, failure: Failure) => void;
  readonly onDefect: (failure: Failure) => void;
  /** Serves the configuration stream; without it there is none. */
  readonly config?: ConfigStreams | undefined;
}

/** What is open. */
export interface Port {
  readonly listener: Listener;
  readonly watchers: TrustWatchers;
}

/** Binds and serves. Fails with PORT_UNAVAILABLE. */
export async function openPort(options: PortOptions): Promise<Port | Failure> {
  const { host, port, state, identity, tokens, serviceAccounts, limits, clock, audit, onRefused, onDefect, config } =
    options;
  const { trustDomain } = state.issuer();
  const prover = { trustDomain, tokens, serviceAccounts, clock };
  const issuer = new CertificateIssuer({ ...options, prover });
  const watchers = new TrustWatchers({ state, limits, audit, onRefused });
  const calls = { handlers: handlersOf({ issuer, watchers, limits }), limits, clock, onDefect };
  const listener = await listen({
    host,
    port,
    identity,
    limits,
    clock,
    onCall: (stream, headers, caller) => {
      if (config !== undefined && headers[":path"] === CONFIG_STREAM_PATH) config.serve(stream, headers, caller);
      else void serveCall(stream, headers, caller, calls);
    },
    onRefused: options.onDropped,
  });
  if (!isFailure(listener)) return { listener, watchers };
  watchers.drain();
  return listener;
}
