// Pure. What operators are told of the resources in use: what they say, where they come from, and how old they are.
import { dumpSnapshot } from "../config/config-dump.ts";
import type { ResourceSource } from "../config/resource-source.ts";
import type { Routing } from "../config/routing/routing.ts";
import { formatDuration } from "../config/units.ts";
import type { AdminHandler } from "../observe/admin.ts";

type Source = Pick<ResourceSource, "asOf" | "isRestored" | "stream">;

/** The dump of the configuration. */
export function configDumpHandler(resources: ResourceSource, routing: Routing | undefined): AdminHandler {
  return {
    method: "GET",
    path: "/config_dump",
    about: "the resources as understood, and what was not",
    handle: () => {
      const dumped = dumpSnapshot(resources.get(), routing);
      return { status: 200, body: { source: describeSource(resources), ...dumped } };
    },
  };
}

function describeSource({ asOf, isRestored, stream }: Source): object {
  const described = { restored: isRestored, asOf: new Date(asOf).toISOString() };
  return stream === undefined ? described : { ...described, stream };
}

/** For readiness: `undefined` when the resources come from where they should. `now` is in milliseconds since the epoch. */
export function restoredText({ asOf, isRestored }: Source, now: number): string | undefined {
  if (!isRestored) return undefined;
  const age = formatDuration(Math.max(0, Math.round((now - asOf) / 1000)) * 1000);
  return `resources: the last good ones, saved ${age} ago, because the source cannot be used`;
}
