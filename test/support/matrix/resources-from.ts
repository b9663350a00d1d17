// Machine. Where the programs of a mesh have their resources from: its folder, or an authority on a host of its own that reads the folder.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { Lab } from "../lab.ts";
import type { Host } from "../netns.ts";
import { commandLine } from "../programs.ts";
import type { Source } from "./cells.ts";

/** A source that is there to be asked. */
export interface ResourcesFrom {
  /** Keys of the configuration of a uproxy or waypoint. */
  readonly config: Readonly<Record<string, unknown>>;
}

const PORT = 15_012;
const NAME = "authority";

/** Makes the source ready; `host` is for what runs beside the mesh. */
export async function resourcesFrom(source: Source, lab: Lab, host: Host): Promise<ResourcesFrom> {
  if (source === "files") return { config: {} };
  const file = join(lab.mesh.folder, "authority.yaml");
  const config = {
    folder: await lab.mesh.writeAuthority(),
    listen: `:${PORT}`,
    names: [NAME],
    resources: { files: lab.mesh.resources },
    admin: "off",
    readiness: "off",
    metrics: "off",
  };
  writeFileSync(file, stringify(config));
  const { command, args } = commandLine("authority", ["serve", "--config", file]);
  await lab.start("authority", host, /"message":"ready"/, command, ...args);
  return { config: { resources: { authority: { address: `${host.address}:${PORT}`, serverName: NAME } } } };
}
