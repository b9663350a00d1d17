// Pure but for the files that it names. The frame of `explain`: the question from the command line, asked of the files or
// of a running process; what the question is and who answers it is the program's.
import { CONFIG_OPTION } from "../config/program-file.ts";
import { EXIT, wrongUsage, type Arguments, type Command, type Complaint, type OptionSpec } from "../config/cli.ts";
import type { CommonConfig } from "../config/process-config.ts";
import type { Snapshot } from "../config/snapshot.ts";
import { isFailure, type Failure } from "../failure/failure.ts";
import type { Identity } from "../identity/source.ts";
import { systemClock } from "../net/clock.ts";
import { askAdmin, isComplaint, loadConfig, loadResources, type ProgramKind } from "./commands.ts";

/** One line a step, the last of them the outcome. */
export type Explained = readonly string[];

/** What a program can explain. `Q` is its question. */
export interface Explainer<C extends CommonConfig, Q> {
  readonly summary: string;
  /** The options that make the question. */
  readonly options: readonly OptionSpec[];
  readonly question: (args: Arguments) => Q | Complaint;
  /** The question as the query of `GET /explain`. */
  readonly query: (question: Q) => URLSearchParams;
  /** The answer from configuration, resources and identity. */
  readonly answer: (config: C, snapshot: Snapshot, identity: Identity, question: Q) => Explained | Failure;
}

/** The command. */
export function explainCommand<C extends CommonConfig, Q>(kind: ProgramKind<C>, explainer: Explainer<C, Q>): Command {
  return {
    name: "explain",
    summary: explainer.summary,
    options: [
      ...explainer.options,
      CONFIG_OPTION,
      { name: "admin", value: "ADDR", help: "ask the running process at this admin address instead of the files" },
    ],
    run: async (args, io) => {
      const question = explainer.question(args);
      if (isComplaint(question)) return question;
      const admin = args.text("admin");
      const steps = await (admin === undefined
        ? offline(kind, explainer, args, question)
        : online(admin, explainer.query(question)));
      if (isComplaint(steps)) return steps;
      io.out(`${steps.join("\n")}\n`);
      return EXIT.done;
    },
  };
}

async function online(admin: string, query: URLSearchParams): Promise<Explained | Complaint> {
  const answer = await askAdmin(admin, `/explain?${query.toString()}`);
  if (isComplaint(answer)) return answer;
  const { steps, error } = answer as { readonly steps?: Explained; readonly error?: string };
  return steps ?? wrongUsage(error ?? "the process gave no explanation");
}

async function offline<C extends CommonConfig, Q>(
  kind: ProgramKind<C>,
  explainer: Explainer<C, Q>,
  args: Arguments,
  question: Q,
): Promise<Explained | Complaint> {
  const config = await loadConfig(kind, args);
  if (isComplaint(config)) return config;
  const snapshot = await loadResources(config.resources.folder, kind.routing);
  if (isComplaint(snapshot)) return snapshot;
  const { identityOffline } = await import("./offline-identity.ts");
  const identity = await identityOffline(config.identity, systemClock);
  if (isFailure(identity)) return { exit: EXIT.identity, message: identity.toString() };
  const steps = explainer.answer(config, snapshot, identity, question);
  return isFailure(steps) ? wrongUsage(steps.toString()) : steps;
}
