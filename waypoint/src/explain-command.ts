// Pure but for the files that it names. `waypoint explain`: offline from the folder, or of a running process.
import { EXIT, wrongUsage, type Arguments, type Command, type Complaint } from "@culvert/shared/config/cli.ts";
import type { WaypointConfig } from "@culvert/shared/config/process-config.ts";
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
import { explainRequest, type RequestQuestion } from "./explain.ts";
import { MeshView } from "./mesh/view.ts";
import { selfOf } from "./waypoint.ts";

/** The command. */
export function explainCommand(kind: ProgramKind<WaypointConfig>): Command {
  return {
    name: "explain",
    summary: "says which route, rule, backend and policy would act on a request, and why",
    options: [
      { name: "request", value: "REQUEST", required: true, help: "such as 'GET http://reviews:9080/x'" },
      { name: "from", value: "SPIFFE_ID", help: "caller; without it, one of whom nothing is known" },
      { name: "source-ip", value: "IP", help: "address of that caller" },
      { name: "header", value: "'NAME: VALUE'", short: "H", multiple: true, help: "a header of the request" },
      configOption,
      { name: "admin", value: "ADDR", help: "ask the running process at this admin address instead of the files" },
    ],
    run: async (args, io) => {
      const admin = args.text("admin");
      const question = questionOf(args);
      const steps = await (admin === undefined ? explainedOffline(kind, args, question) : explainedBy(admin, question));
      if (isComplaint(steps)) return steps;
      io.out(`${steps.join("\n")}\n`);
      return EXIT.done;
    },
  };
}

function questionOf(args: Arguments): RequestQuestion {
  return {
    request: args.required("request"),
    from: args.text("from"),
    sourceIp: args.text("source-ip"),
    headers: args.texts("header"),
  };
}

async function explainedBy(admin: string, question: RequestQuestion): Promise<readonly string[] | Complaint> {
  const query = new URLSearchParams({ request: question.request });
  if (question.from !== undefined) query.set("from", question.from);
  if (question.sourceIp !== undefined) query.set("source-ip", question.sourceIp);
  for (const header of question.headers) query.append("header", header);
  const answer = await askAdmin(admin, `/explain?${query.toString()}`);
  if (isComplaint(answer)) return answer;
  const { steps, error } = answer as { readonly steps?: readonly string[]; readonly error?: string };
  return steps ?? wrongUsage(error ?? "the process gave no explanation");
}

async function explainedOffline(
  kind: ProgramKind<WaypointConfig>,
  args: Arguments,
  question: RequestQuestion,
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
  const steps = explainRequest(new MeshView(snapshot, selfOf(config, identity.get())), question);
  return isFailure(steps) ? wrongUsage(steps.toString()) : steps;
}
