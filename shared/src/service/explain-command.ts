// Pure but for the files that it names. The frame of `explain`: the question from the command line, asked of the files or
// of a running process; what the question is and who answers it is the program's.
import { CONFIG_OPTION } from "../config/process/program-file.ts";
import { EXIT, wrongUsage, type Arguments, type Command, type Complaint, type OptionSpec } from "../config/cli.ts";
import type { CommonConfig } from "../config/process/process-config.ts";
import type { Snapshot } from "../config/snapshot.ts";
import { isFailure, type Failure } from "../failure/failure.ts";
import type { Identity } from "../identity/source.ts";
import { systemClock } from "../net/clock.ts";
import { askAdmin, folderOf, isComplaint, loadConfig, loadResources, type ProgramKind } from "./commands.ts";

/** An answer, for people and for programs. */
export interface Explanation {
  /** One line a step, the last of them the outcome. */
  readonly steps: readonly string[];
  /** The same by name, where there is more to tell than steps. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

/** What a program can explain. `Q` is its question. */
export interface Explainer<C extends CommonConfig, Q> {
  readonly summary: string;
  /** The options that make the question. */
  readonly options: readonly OptionSpec[];
  readonly question: (args: Arguments) => Q | Complaint;
  /** The question as the query of `GET /explain`. */
  readonly query: (question: Q) => URLSearchParams;
  /** The answer from configuration, resources and identity. */
  readonly answer: (config: C, snapshot: Snapshot, identity: Identity, question: Q) => Explanation | Failure;
}

/** The command. */
export function explainCommand<C extends CommonConfig, Q>(kind: ProgramKind<C>, explainer: Explainer<C, Q>): Command {
  return {
    name: "explain",
    summary: explainer.summary,
    options: [
      ...explainer.options,
      CONFIG_OPTION,
      { name: "output", value: "FORM", help: "text (the default) or json" },
      { name: "admin", value: "ADDR", help: "ask the running process at this admin address instead of the files" },
    ],
    run: async (args, io) => {
      const question = explainer.question(args);
      if (isComplaint(question)) return question;
      const output = args.text("output") ?? "text";
      if (output !== "text" && output !== "json") return wrongUsage(`--output: expected text or json, found ${output}`);
      const admin = args.text("admin");
      const explained = await (admin === undefined
        ? offline(kind, explainer, args, question)
        : online(admin, explainer.query(question)));
      if (isComplaint(explained)) return explained;
      const { steps, facts } = explained;
      io.out(`${output === "text" ? steps.join("\n") : JSON.stringify({ ...facts, steps }, undefined, 2)}\n`);
      return EXIT.done;
    },
  };
}

async function online(admin: string, query: URLSearchParams): Promise<Explanation | Complaint> {
  const answer = await askAdmin(admin, `/explain?${query.toString()}`);
  if (isComplaint(answer)) return answer;
  const { steps, error, ...facts } = answer as { readonly steps?: readonly string[]; readonly error?: string };
  return steps === undefined ? wrongUsage(error ?? "the process gave no explanation") : { steps, facts };
}

async function offline<C extends CommonConfig, Q>(
  kind: ProgramKind<C>,
  explainer: Explainer<C, Q>,
  args: Arguments,
  question: Q,
): Promise<Explanation | Complaint> {
  const config = await loadConfig(kind, args);
  if (isComplaint(config)) return config;
  const folder = folderOf(config);
  if (typeof folder !== "string") return wrongUsage(`${folder.message}: use --admin`);
  const snapshot = await loadResources(folder, kind.routing);
  if (isComplaint(snapshot)) return snapshot;
  const { identityOffline } = await import("./offline-identity.ts");
  const identity = await identityOffline(config.identity, systemClock);
  if (isFailure(identity)) return { exit: EXIT.identity, message: identity.toString() };
  const explained = explainer.answer(config, snapshot, identity, question);
  return isFailure(explained) ? wrongUsage(explained.toString()) : explained;
}
