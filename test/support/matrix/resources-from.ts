// Machine. Where the programs of an architecture have their resources from: the folder of the mesh itself.
import type { Lab } from "../lab.ts";
import type { Host } from "../netns.ts";
import type { Source } from "./cells.ts";

/** A source that is there to be asked. */
export interface ResourcesFrom {
  /** Keys of the configuration of a uproxy or waypoint. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** Makes the source ready. */
export function resourcesFrom(source: Source, _lab: Lab, _host: Host): Promise<ResourcesFrom> {
  if (source === "files") return Promise.resolve({ config: {} });
  throw new Error("not yet");
}
