// Root. The authority's command line.
import type { Program } from "@culvert/shared/config/cli.ts";
import { versionLine } from "@culvert/shared/config/version.ts";
import { waitCommand } from "@culvert/shared/service/wait-command.ts";
import { loadAuthorityConfig } from "./commands/config.ts";
import { revokeCommand } from "./commands/revoke-command.ts";
import { rootCommand } from "./commands/root-command.ts";
import { checkCommand, serveCommand } from "./commands/serve-command.ts";
import { tokenCommand } from "./commands/token-command.ts";
import { initCommand } from "./commands/init-command.ts";
import { issueCommand } from "./commands/issue-command.ts";

/** The program `authority`. */
export const authorityProgram: Program = {
  name: "authority",
  summary: "makes and signs the identities of a mesh",
  commands: [
    initCommand,
    issueCommand,
    tokenCommand,
    rootCommand,
    revokeCommand,
    serveCommand,
    checkCommand,
    waitCommand("authority", loadAuthorityConfig),
  ],
  version: () => versionLine("authority"),
};
