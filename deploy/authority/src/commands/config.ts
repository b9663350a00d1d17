// Machine. Reads `authority.yaml` for the commands that need it.
import type { Arguments, Complaint } from "@culvert/shared/config/cli.ts";
import { loadConfigFile } from "@culvert/shared/config/process/load-process-config.ts";
import { loadProgramFile } from "@culvert/shared/config/process/program-file.ts";
import { AUTHORITY_SCHEMA } from "../config/authority-schema.ts";
import type { AuthorityConfig } from "../config/authority-schema.ts";

/** Reads the configuration that the arguments name, or says all that is wrong with it. */
export function loadAuthorityConfig(args: Arguments): Promise<AuthorityConfig | Complaint> {
  return loadProgramFile("authority", args, (file, variables) => loadConfigFile(AUTHORITY_SCHEMA, file, variables));
}
