#!/usr/bin/env -S node --max-semi-space-size=4 --disable-warning=ExperimentalWarning
// Root. The program: command line in, exit code out.
import { runCommandLine } from "@culvert/shared/config/cli.ts";
import { loadUproxyConfig } from "@culvert/shared/config/process/load-process-config.ts";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import { versionLine } from "@culvert/shared/config/version.ts";
import { commonCommands, type ProgramKind } from "@culvert/shared/service/commands.ts";
import { explainCommand } from "@culvert/shared/service/explain-command.ts";
import { runService } from "@culvert/shared/service/run-service.ts";
import { captureCommand } from "./capture/command.ts";
import { explainer } from "./explainer.ts";
import { askerOf } from "./self-hints.ts";
import { startUproxy } from "./uproxy.ts";

const kind: ProgramKind<UproxyConfig> = {
  name: "uproxy",
  load: loadUproxyConfig,
  run: (config, whenReady) =>
    runService({
      component: "uproxy",
      config,
      whenReady,
      start: (foundation) => startUproxy(foundation, config),
      asker: () => askerOf(config),
    }),
};

// Set, not exit(): what was written must be able to leave the process first.
process.exitCode = await runCommandLine(
  {
    name: "uproxy",
    summary: "carries the connections of one app over mutual TLS tunnels, and decides who may connect to it",
    commands: [...commonCommands(kind), explainCommand(kind, explainer), captureCommand(kind)],
    defaultCommand: "run",
    version: () => versionLine("uproxy"),
  },
  process.argv.slice(2),
  { out: (text) => void process.stdout.write(text), err: (text) => void process.stderr.write(text) },
);
