// Pure but for the files that they name. The commands that uproxy and waypoint have in common: run, check, wait, and
// what `explain` needs to ask offline or of a running process.
import {
  EXIT,
  wrongUsage,
  type Arguments,
  type CliIo,
  type Command,
  type Complaint,
  type ExitCode,
} from "../config/cli.ts";
import type { ConfigError } from "../config/config-error.ts";
import { formatProblem } from "../config/problem-text.ts";
import type { CommonConfig } from "../config/process/process-config.ts";
import { CONFIG_OPTION, listed, loadProgramFile } from "../config/process/program-file.ts";
import type { Routing } from "../config/routing/routing.ts";
import type { Snapshot } from "../config/snapshot.ts";
import { isFailure } from "../failure/failure.ts";
import { systemClock } from "../net/clock.ts";
import { formatHostPort } from "../net/ip.ts";
import { parseListenAddress } from "../net/listen-address.ts";
import { processListeners } from "../net/listeners.ts";
import type { HttpListen } from "../observe/http-endpoint.ts";
import { StartFailure } from "./start-failure.ts";
import { waitCommand } from "./wait-command.ts";

/** What differs between the programs. */
export interface ProgramKind<C extends CommonConfig> {
  readonly name: "uproxy" | "waypoint";
  readonly load: (file: string, environment: ReadonlyMap<string, string>) => Promise<C | readonly ConfigError[]>;
  /** Reads routes, where the program follows any. */
  readonly routing?: Routing;
  /** Runs until it is told to end; `whenReady` is called once everything is there. */
  readonly run: (config: C, whenReady: () => Promise<void>) => Promise<ExitCode | StartFailure>;
}

/** `run`, `check` and `wait`. */
export function commonCommands<C extends CommonConfig>(kind: ProgramKind<C>): readonly Command[] {
  return [runCommand(kind), checkCommand(kind), waitCommand(kind.name, (args) => loadConfig(kind, args))];
}

/** Reads the process configuration that the arguments name, or says all that is wrong with it. */
export function loadConfig<C extends CommonConfig>(kind: ProgramKind<C>, args: Arguments): Promise<C | Complaint> {
  return loadProgramFile(kind.name, args, kind.load);
}

/** Reads a resource folder once, for commands that decide offline. */
export async function loadResources(folder: string, routing: Routing | undefined): Promise<Snapshot | Complaint> {
  const { openResourceFolder } = await import("../config/files-source.ts");
  const source = await openResourceFolder({ folder, routing, clock: systemClock, onEvent: () => undefined });
  if (!("get" in source)) return wrongUsage(listed("resources", source.map(formatProblem)));
  source.close();
  return source.get();
}

/** The folder of resources, for commands that decide offline; a complaint where they come from elsewhere. */
export function folderOf({ resources }: CommonConfig): string | Complaint {
  if (resources.kind === "files") return resources.folder;
  const { host, port } = resources.address;
  return wrongUsage(
    `the resources come from the authority at ${formatHostPort(host, port)}, and only a running process knows them`,
  );
}

/** Asks a running process on its admin port; its answer, which is a JSON object. */
export async function askAdmin(address: string, path: string): Promise<object | Complaint> {
  const socket = /^unix:(?:\/\/)?(\/.+)$/.exec(address)?.[1];
  const at: HttpListen | undefined = socket === undefined ? parseListenAddress(address) : { path: socket };
  if (at === undefined)
    return wrongUsage(`--admin: expected host:port or unix:///path, found ${JSON.stringify(address)}`);
  const { httpGet } = await import("../observe/http-get.ts");
  const answer = await httpGet(at, path, ADMIN_TIMEOUT_MS);
  if (isFailure(answer)) return { exit: EXIT.failed, message: `${address}: ${answer.toString()}` };
  // Another port, or a handler that has failed, answers in text.
  const found = `${answer.status} ${JSON.stringify(answer.body.slice(0, SHOWN_CHARACTERS))}`;
  return objectIn(answer.body) ?? { exit: EXIT.failed, message: `${address}: no answer of an admin port: ${found}` };
}

function objectIn(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Tells a complaint from a value. */
export function isComplaint(value: unknown): value is Complaint {
  return typeof value === "object" && value !== null && "exit" in value && "message" in value;
}

const ADMIN_TIMEOUT_MS = 10_000;
/** Everybody may know a process id. */
const PID_FILE_MODE = 0o644;
/** Of an answer that is not understood. */
const SHOWN_CHARACTERS = 200;

function runCommand<C extends CommonConfig>(kind: ProgramKind<C>): Command {
  return {
    name: "run",
    summary: `runs the ${kind.name} until SIGTERM or SIGINT, which drain it; a second one ends it at once`,
    options: [
      CONFIG_OPTION,
      {
        name: "takeover",
        help: `start beside the ${kind.name} that runs with this configuration, which drains and ends`,
      },
      {
        name: "pid-file",
        value: "FILE",
        help: "write the process id there once all is ready; a start that takes over replaces it",
      },
    ],
    run: async (args, io) => {
      const config = await loadConfig(kind, args);
      if (isComplaint(config)) return config;
      if (args.flag("takeover")) processListeners.bindBeside();
      const ended = await kind.run(config, () => writePid(args.text("pid-file"), io));
      return ended instanceof StartFailure ? { exit: ended.exit, message: ended.lines.join("\n") } : ended;
    },
  };
}

/** Who watches processes is told by the file; the process serves without it, too. */
async function writePid(file: string | undefined, io: CliIo): Promise<void> {
  if (file === undefined) return;
  const { writeFileWhole } = await import("../identity/write-file.ts");
  try {
    await writeFileWhole(file, `${process.pid}\n`, PID_FILE_MODE);
  } catch (error) {
    io.err(`--pid-file: expected a file that can be written, found: ${String(error)}\n`);
  }
}

function checkCommand<C extends CommonConfig>(kind: ProgramKind<C>): Command {
  return {
    name: "check",
    summary: "validates the process configuration and the resources, and prints every error",
    options: [
      CONFIG_OPTION,
      { name: "resources", value: "DIR", help: "resource folder; default: the one that the configuration names" },
      {
        name: "json",
        help: "print one JSON object: the problems, and the status of each route and policy of backends",
      },
    ],
    run: async (args, io) => {
      const config = await loadConfig(kind, args);
      if (isComplaint(config)) return config;
      const folder = args.text("resources") ?? folderOf(config);
      if (typeof folder !== "string") {
        io.out(`ok: the configuration; ${folder.message}\n`);
        return EXIT.done;
      }
      const snapshot = await loadResources(folder, kind.routing);
      if (isComplaint(snapshot)) return snapshot;
      // Who runs loads nothing of what only looks at a folder.
      const { placementDoubts } = await import("../workload/placement-doubts.ts");
      const report = args.flag("json") ? reportAsJson : reportProblems;
      return report(snapshot, placementDoubts(snapshot.directory), kind.routing, io);
    },
  };
}

function reportProblems(
  snapshot: Snapshot,
  warnings: readonly string[],
  routing: Routing | undefined,
  io: CliIo,
): ExitCode {
  const { problems } = snapshot;
  for (const problem of problems) io.err(`${formatProblem(problem)}\n`);
  for (const warning of warnings) io.err(`warning: ${warning}\n`);
  for (const line of routing?.statusLines(snapshot) ?? []) io.out(`${line}\n`);
  if (problems.length > 0) return EXIT.usage;
  io.out("ok\n");
  return EXIT.done;
}

function reportAsJson(
  snapshot: Snapshot,
  warnings: readonly string[],
  routing: Routing | undefined,
  io: CliIo,
): ExitCode {
  const { problems } = snapshot;
  const statuses = routing?.statusObjects(snapshot, new Date(systemClock.now()).toISOString()) ?? [];
  io.out(`${JSON.stringify({ problems, warnings, statuses }, null, 2)}\n`);
  return problems.length > 0 ? EXIT.usage : EXIT.done;
}
