// Machine. The one way of inbound connections to the own app, with an identity or without: decide, then dial with the permit.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import { dialApp, type KeepSource } from "../connection/dial.ts";
import type { ConnectionReport } from "../connection/report.ts";
import { judge, type UproxyState } from "../state.ts";
import type { InboundTarget } from "./inbound-target.ts";

/** What it takes to reach the app. */
export interface AppAccess {
  readonly clock: Clock;
  readonly limits: TunnelLimits;
  /** Set where the app sees callers' own addresses. */
  readonly keepSource?: KeepSource | undefined;
}

/** Decides by `state` and dials; the denial, or what `dialApp` fails with. No promise of its own: this is the hot path. */
export function reachApp(
  { clock, limits, keepSource }: AppAccess,
  state: UproxyState,
  { host, port }: InboundTarget,
  facts: ConnectionFacts,
  report: ConnectionReport,
): Promise<BulkSocket | Failure> | Failure {
  const verdict = judge(state, facts);
  report.decided(verdict);
  if (!verdict.allowed) return verdict.failure;
  const where = { host, port, timeoutMs: limits.connectTimeoutMs };
  return dialApp(verdict, where, clock, keepSource, facts.sourceIp);
}
