// Pure but for the files that it names. `uproxy explain`: offline from the folder, or of a running process.
import { EXIT, wrongUsage, type Arguments, type Command, type Complaint } from "@culvert/shared/config/cli.ts";
import type { UproxyConfig } from "@culvert/shared/config/process-config.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { openFilesSource } from "@culvert/shared/identity/files.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import {
  askAdmin,
  configOption,
  isComplaint,
  loadConfig,
  loadResources,
  type ProgramKind,
} from "@culvert/shared/service/commands.ts";
import { explainInbound, explainOutbound } from "./explain.ts";
import { deriveState } from "./state.ts";
import { selfHints } from "./uproxy.ts";

/** The command. */
export function explainCommand(kind: ProgramKind<UproxyConfig>): Command {
  return {
    name: "explain",
    summary: "says where a connection of the app would go, or whether one from the mesh would come in, and why",
    options: [
      { name: "to", value: "HOST:PORT", required: true, help: "destination; with --inbound IP:PORT of the own app" },
      { name: "inbound", help: "explain an inbound connection: which policy and rule decide" },
      {
        name: "from",
        value: "SPIFFE_ID",
        help: "caller of an inbound connection; without it, one that proves no identity",
      },
      { name: "source-ip", value: "IP", help: "address of that caller" },
      configOption,
      { name: "admin", value: "ADDR", help: "ask the running process at this admin address instead of the files" },
    ],
    run: async (args, io) => {
      const steps = await explained(kind, args);
      if (isComplaint(steps)) return steps;
      io.out(`${steps.join("\n")}\n`);
      return EXIT.done;
    },
  };
}

async function explained(kind: ProgramKind<UproxyConfig>, args: Arguments): Promise<readonly string[] | Complaint> {
  if (!args.flag("inbound") && (args.text("from") ?? args.text("source-ip")) !== undefined) {
    return wrongUsage("--from and --source-ip go with --inbound");
  }
  const admin = args.text("admin");
  return admin === undefined ? explainedOffline(kind, args) : explainedByAdmin(admin, args);
}

async function explainedByAdmin(admin: string, args: Arguments): Promise<readonly string[] | Complaint> {
  const query = new URLSearchParams({ to: args.required("to") });
  if (args.flag("inbound")) query.set("inbound", "");
  for (const name of ["from", "source-ip"]) {
    const value = args.text(name);
    if (value !== undefined) query.set(name, value);
  }
  const answer = await askAdmin(admin, `/explain?${query.toString()}`);
  if (isComplaint(answer)) return answer;
  const { steps, error } = answer as { readonly steps?: readonly string[]; readonly error?: string };
  return steps ?? wrongUsage(error ?? "the process gave no explanation");
}

async function explainedOffline(
  kind: ProgramKind<UproxyConfig>,
  args: Arguments,
): Promise<readonly string[] | Complaint> {
  const config = await loadConfig(kind, args);
  if (isComplaint(config)) return config;
  const snapshot = await loadResources(config.resources.folder);
  if (isComplaint(snapshot)) return snapshot;
  const identity = await openFilesSource({
    location: config.identity.location,
    clock: systemClock,
    onEvent: () => undefined,
  });
  if (isFailure(identity)) return { exit: EXIT.identity, message: identity.toString() };
  identity.close();
  const state = deriveState(snapshot, identity.get(), selfHints(config));
  const to = args.required("to");
  const steps = args.flag("inbound")
    ? explainInbound(state, { to, from: args.text("from"), sourceIp: args.text("source-ip") })
    : explainOutbound(state, to, config.outbound.unknown);
  return isFailure(steps) ? wrongUsage(steps.toString()) : steps;
}
