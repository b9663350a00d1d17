// Machine. The configuration stream put together: the folder, who is told of it, and what the operator sees. Import it by `await import`,
// where resources are configured.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { AdminHandler } from "@culvert/shared/observe/admin.ts";
import type { Log } from "@culvert/shared/observe/log.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import type { AuthorityMetrics } from "../observe/authority-metrics.ts";
import { ConfigEvents } from "./config-events.ts";
import { ConfigStreams } from "./config-streams.ts";
import { WatchedMesh } from "./watched-mesh.ts";

export interface OpenConfigOptions {
  readonly folder: string;
  readonly trustDomain: () => TrustDomain;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: AuthorityMetrics;
  readonly onFailure: (failure: Failure) => void;
  /** The first usable state is in use. */
  readonly onUsable: () => void;
}

/** What is open. */
export interface ServedConfig {
  readonly source: WatchedMesh;
  readonly streams: ConfigStreams;
  readonly handlers: readonly AdminHandler[];
}

/** Reads the folder once and watches it. */
export async function openConfig(options: OpenConfigOptions): Promise<ServedConfig> {
  const { folder, trustDomain, limits, clock } = options;
  const events = new ConfigEvents(options);
  const source = new WatchedMesh({
    folder,
    clock,
    onChange: (change) => {
      options.onUsable();
      events.inUse(source.mesh.version, source.mesh.size, change.ids.size);
      void streams.changed(change);
    },
    onKept: (problems) => events.kept(problems),
    onNotUnderstood: (problems) => events.notUnderstood(problems),
  });
  const streams = new ConfigStreams({ trustDomain, source, limits, clock, events });
  await source.reload();
  const handlers: readonly AdminHandler[] = [
    {
      method: "GET",
      path: "/clients",
      about: "clients of the configuration stream: what each has acknowledged, waits for and has refused",
      handle: () => ({
        status: 200,
        body: {
          version: source.mesh.version,
          documents: source.mesh.size,
          scopes: streams.scopes,
          clients: streams.clients(),
        },
      }),
    },
  ];
  return { source, streams, handlers };
}
