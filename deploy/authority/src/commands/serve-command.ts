// Machine. `authority serve` and `authority check`.
import { EXIT } from "@culvert/shared/config/cli.ts";
import type { Command } from "@culvert/shared/config/cli.ts";
import { formatProblem } from "@culvert/shared/config/problem-text.ts";
import { CONFIG_OPTION } from "@culvert/shared/config/process/program-file.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { isComplaint } from "@culvert/shared/service/commands.ts";
import { readAuthority } from "../state/authority-folder.ts";
import { loadAuthorityConfig } from "./config.ts";

/** `authority serve --config F`. */
export const serveCommand: Command = {
  name: "serve",
  summary: "signs certificates for who proves an identity, and says whom to trust, until SIGTERM or SIGINT",
  options: [CONFIG_OPTION],
  run: async (args) => {
    const config = await loadAuthorityConfig(args);
    if (isComplaint(config)) return config;
    // The gRPC runtime is for this command alone.
    const { serveAuthority } = await import("../serve/serve.ts");
    const ended = await serveAuthority(config);
    return typeof ended === "number" ? ended : { exit: ended.exit, message: ended.lines.join("\n") };
  },
};

/** `authority check --config F`. */
export const checkCommand: Command = {
  name: "check",
  summary: "validates the configuration and the folders that it names, and prints every error",
  options: [CONFIG_OPTION],
  run: async (args, io) => {
    const config = await loadAuthorityConfig(args);
    if (isComplaint(config)) return config;
    const authority = await readAuthority(config.folder);
    if (isFailure(authority)) return { exit: EXIT.usage, message: authority.detail };
    if (config.resources !== undefined) {
      const { checkMesh } = await import("../config-stream/mesh-files.ts");
      const problems = await checkMesh(config.resources.files);
      for (const problem of problems) io.err(`${formatProblem(problem)}\n`);
      if (problems.length > 0) return EXIT.usage;
    }
    io.out("ok\n");
    return EXIT.done;
  },
};
