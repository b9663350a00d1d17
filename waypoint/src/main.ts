#!/usr/bin/env -S node --max-semi-space-size=4 --disable-warning=ExperimentalWarning
// Root. The program: command line in, exit code out.
import { runCommandLine } from "@culvert/shared/config/cli.ts";
import { loadWaypointConfig } from "@culvert/shared/config/process/load-process-config.ts";
import type { WaypointConfig } from "@culvert/shared/config/process/process-config.ts";
import { routing } from "@culvert/shared/config/routing/routing.ts";
import { heldResources } from "@culvert/shared/config/scope/held-resources.ts";
import { versionLine } from "@culvert/shared/config/version.ts";
import { commonCommands, type ProgramKind } from "@culvert/shared/service/commands.ts";
import { explainCommand } from "@culvert/shared/service/explain-command.ts";
import { runService } from "@culvert/shared/service/run-service.ts";
import { explainer } from "./explainer.ts";
import { gatewayUid } from "./mesh/destination.ts";
import { startWaypoint } from "./waypoint.ts";

const kind: ProgramKind<WaypointConfig> = {
  name: "waypoint",
  load: loadWaypointConfig,
  routing,
  run: (config, whenReady) =>
    runService({
      component: "waypoint",
      config,
      whenReady,
      start: (foundation) => startWaypoint(foundation, config),
      asker: () => ({ proxy: "waypoint", gateway: gatewayUid(config.gateway) }),
      routing,
      narrow: (all) => heldResources(all, config.gateway),
    }),
};

// Set, not exit(): what was written must be able to leave the process first.
process.exitCode = await runCommandLine(
  {
    name: "waypoint",
    summary: "ends tunnels, routes and authorizes HTTP, and tunnels on with its own identity",
    commands: [...commonCommands(kind), explainCommand(kind, explainer)],
    defaultCommand: "run",
    version: () => versionLine("waypoint"),
  },
  process.argv.slice(2),
  { out: (text) => void process.stdout.write(text), err: (text) => void process.stderr.write(text) },
);
