// Machine. Reads `authority.yaml` for the commands that need it.
import { stat } from "node:fs/promises";
import { wrongUsage } from "@culvert/shared/config/cli.ts";
import type { Arguments, Complaint } from "@culvert/shared/config/cli.ts";
import { formatConfigError } from "@culvert/shared/config/config-error.ts";
import type { ConfigError } from "@culvert/shared/config/config-error.ts";
import { environment } from "@culvert/shared/config/env.ts";
import { loadConfigFile } from "@culvert/shared/config/load-process-config.ts";
import { AUTHORITY_SCHEMA } from "../config/authority-schema.ts";
import type { AuthorityConfig } from "../config/authority-schema.ts";

const PLACES = ["authority.yaml", "/etc/culvert/authority.yaml"];

/** The option that names the file. */
export const CONFIG_OPTION = {
  name: "config",
  value: "F",
  short: "c",
  help: "process configuration; default: authority.yaml here, then in /etc/culvert",
} as const;

/** Reads the configuration that the arguments name, or says all that is wrong with it. */
export async function loadAuthorityConfig(args: Arguments): Promise<AuthorityConfig | Complaint> {
  const file = args.text("config") ?? (await firstExisting(PLACES));
  if (file === undefined) return wrongUsage(`no --config given, and neither ${PLACES.join(" nor ")} exists`);
  const config = await loadConfigFile(AUTHORITY_SCHEMA, file, environment());
  if (!isErrors(config)) return config;
  const lines = config.map(formatConfigError);
  const [only = ""] = lines;
  return wrongUsage(lines.length === 1 ? only : [`${lines.length} errors in the configuration:`, ...lines].join("\n"));
}

async function firstExisting(files: readonly string[]): Promise<string | undefined> {
  for (const file of files) {
    const found = await stat(file).then(
      (entry) => entry.isFile(),
      () => false,
    );
    if (found) return file;
  }
  return undefined;
}

function isErrors(value: object): value is readonly ConfigError[] {
  return Array.isArray(value);
}
