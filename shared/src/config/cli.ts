// Pure. The command line of the three programs: sub-commands with options, `--help` on each, one clear line for what is
// wrong. Commands are data, so that the documentation can be held against them; writing and ending is the caller's.
import { parseArgs } from "node:util";
import type { ParseArgsOptionDescriptor } from "node:util";
import { nearest } from "./near-miss.ts";

/** Exit codes of all programs. */
export const EXIT = {
  done: 0,
  /** Failed at run time. */
  failed: 1,
  /** Wrong command line or configuration. */
  usage: 2,
  /** Identity could not be had. */
  identity: 3,
  /** A port could not be bound. */
  port: 4,
} as const;

/** One of `EXIT`. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An option of a command. */
export interface OptionSpec {
  /** Without the dashes. */
  readonly name: string;
  /** What stands for the value in help texts; absent: the option is a flag. */
  readonly value?: string;
  /** One letter. */
  readonly short?: string;
  readonly required?: boolean;
  /** May be given several times. */
  readonly multiple?: boolean;
  readonly help: string;
}

/** An argument that is told by its place. */
export interface PositionalSpec {
  readonly name: string;
  readonly optional?: boolean;
  /** The values that it may have; absent: any. */
  readonly choices?: readonly string[];
  readonly help: string;
}

/** Where a command writes: `out` for what was asked for, `err` for what went wrong. Texts end in a newline. */
export interface CliIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** A command that cannot go on: the runner writes `<program> <command>: <message>` to `err` and ends with the code. */
export interface Complaint {
  readonly exit: ExitCode;
  readonly message: string;
}

/** One sub-command. */
export interface Command {
  readonly name: string;
  /** One sentence, without a full stop. */
  readonly summary: string;
  readonly positionals?: readonly PositionalSpec[];
  readonly options?: readonly OptionSpec[];
  readonly run: (args: Arguments, io: CliIo) => Promise<ExitCode | Complaint> | ExitCode | Complaint;
}

/** A program. */
export interface Program {
  readonly name: string;
  readonly summary: string;
  readonly commands: readonly Command[];
  /** The command that is meant when none is named. */
  readonly defaultCommand?: string;
  /** The line of `--version`. */
  readonly version: () => string;
}

/** What a command was given; names are those of its specs. */
export class Arguments {
  readonly #options: ReadonlyMap<string, readonly (string | boolean)[]>;
  readonly #positionals: ReadonlyMap<string, string>;

  constructor(
    options: ReadonlyMap<string, readonly (string | boolean)[]>,
    positionals: ReadonlyMap<string, string> = new Map(),
  ) {
    this.#options = options;
    this.#positionals = positionals;
  }

  /** The value of an option, or of a positional argument. */
  text(name: string): string | undefined {
    return this.texts(name)[0] ?? this.#positionals.get(name);
  }

  /** The value of something that is required, and therefore there. */
  required(name: string): string {
    const value = this.text(name);
    if (value === undefined) throw new Error(`${name} is not declared as required`);
    return value;
  }

  /** Every value of an option that may be repeated, in order. */
  texts(name: string): readonly string[] {
    return (this.#options.get(name) ?? []).filter((value) => typeof value === "string");
  }

  /** Whether a flag was given. */
  flag(name: string): boolean {
    return this.#options.get(name)?.includes(true) ?? false;
  }
}

/** A complaint about the command line or the configuration. */
export function wrongUsage(message: string): Complaint {
  return { exit: EXIT.usage, message };
}

/** Runs what `argv` (without the program's own path) asks for, and returns the exit code. */
export async function runCommandLine(program: Program, argv: readonly string[], io: CliIo): Promise<ExitCode> {
  const [first = ""] = argv;
  if (first === "--help" || first === "-h") {
    io.out(programHelp(program));
    return EXIT.done;
  }
  if (first === "--version") {
    io.out(`${program.version()}\n`);
    return EXIT.done;
  }
  const named = first !== "" && !first.startsWith("-");
  const name = named ? first : program.defaultCommand;
  const command = program.commands.find((each) => each.name === name);
  if (command === undefined)
    return complain(io, program.name, unknownCommand(program, first), `${program.name} --help`);
  const title = `${program.name} ${command.name}`;
  const args = parseCommand(command, named ? argv.slice(1) : argv);
  if (args === "help") {
    io.out(commandHelp(program, command));
    return EXIT.done;
  }
  if (typeof args === "string") return complain(io, title, args, `${title} --help`);
  const outcome = await command.run(args, io);
  if (typeof outcome === "number") return outcome;
  io.err(`${title}: ${outcome.message}\n`);
  return outcome.exit;
}

/** The arguments of a command, `"help"` when that is asked for, or what is wrong with them. */
function parseCommand(command: Command, argv: readonly string[]): Arguments | string {
  const specs = new Map((command.options ?? []).map((spec) => [spec.name, spec]));
  const options = new Map<string, (string | boolean)[]>();
  const words: string[] = [];
  // Not strict: the problems are told in our own words, and every one of them is looked for below.
  const config = { args: [...argv], options: parserOptions(specs.values()), strict: false, allowPositionals: true };
  for (const token of parseArgs({ ...config, tokens: true }).tokens) {
    if (token.kind === "positional") words.push(token.value);
    if (token.kind !== "option") continue;
    if (token.name === "help") return "help";
    const spec = specs.get(token.name);
    if (spec === undefined) return unknownOption(token.rawName, specs.keys());
    const before = options.get(spec.name) ?? [];
    if (before.length > 0 && spec.multiple !== true) return `--${spec.name} is given twice`;
    const value = optionValue(spec, token.value, token.inlineValue === true);
    if (value === undefined) return valueProblem(spec);
    options.set(spec.name, [...before, value]);
  }
  const missing = [...specs.values()].find((spec) => spec.required === true && !options.has(spec.name));
  if (missing !== undefined) return `${labelOf(missing)} is required: ${missing.help}`;
  const positionals = placePositionals(command.positionals ?? [], words);
  return typeof positionals === "string" ? positionals : new Arguments(options, positionals);
}

function parserOptions(specs: Iterable<OptionSpec>): Record<string, ParseArgsOptionDescriptor> {
  const options: Record<string, ParseArgsOptionDescriptor> = { help: { type: "boolean", short: "h" } };
  for (const { name, value, short } of specs) {
    const type = value === undefined ? "boolean" : "string";
    options[name] = short === undefined ? { type } : { type, short };
  }
  return options;
}

/** The value of an option as given; undefined when it has none and needs one, or has one and takes none. */
function optionValue(spec: OptionSpec, given: string | undefined, inline: boolean): string | true | undefined {
  if (spec.value === undefined) return given === undefined ? true : undefined;
  // `--config --admin x`: the next option is no value; `--config=--admin` says that it is one.
  return given === undefined || given === "" || (given.startsWith("-") && !inline) ? undefined : given;
}

function valueProblem(spec: OptionSpec): string {
  return spec.value === undefined ? `--${spec.name} takes no value` : `${labelOf(spec)} needs a value: ${spec.help}`;
}

function unknownOption(rawName: string, names: Iterable<string>): string {
  const near = nearest(rawName.replace(/^-+/, ""), names);
  return near === undefined ? `unknown option ${rawName}` : `unknown option ${rawName}, did you mean --${near}?`;
}

function placePositionals(specs: readonly PositionalSpec[], words: readonly string[]): Map<string, string> | string {
  const placed = new Map<string, string>();
  for (const [index, spec] of specs.entries()) {
    const word = words[index];
    if (word === undefined) {
      if (spec.optional === true) continue;
      return `${nameOf(spec)} is required: ${spec.help}`;
    }
    if (spec.choices !== undefined && !spec.choices.includes(word)) {
      return `expected ${nameOf(spec)}, found ${JSON.stringify(word)}`;
    }
    placed.set(spec.name, word);
  }
  const extra = words[specs.length];
  return extra === undefined ? placed : `unexpected argument ${JSON.stringify(extra)}`;
}

/** The help text of a whole program. */
function programHelp(program: Program): string {
  const rows = program.commands.map((command): [string, string] => [usageOf(program, command), command.summary]);
  rows.push([`${program.name} --version`, "version, commit, Node, OpenSSL"]);
  const isDefault = program.defaultCommand === undefined ? "" : `Without a command: ${program.defaultCommand}.\n`;
  const more = `\n${isDefault}${program.name} COMMAND --help tells more about one command.\n`;
  return `${program.name}: ${program.summary}\n\n${table(rows)}${more}`;
}

/** The help text of one command. */
function commandHelp(program: Program, command: Command): string {
  const rows: [string, string][] = [
    ...(command.positionals ?? []).map((each): [string, string] => [nameOf(each), each.help]),
    ...(command.options ?? []).map((each): [string, string] => [labelOf(each), each.help]),
    ["-h, --help", "this text"],
  ];
  return `${usageOf(program, command)}\n\n${command.summary}\n\n${table(rows)}`;
}

function usageOf(program: Program, command: Command): string {
  const positionals = (command.positionals ?? []).map((each) => (each.optional ? `[${nameOf(each)}]` : nameOf(each)));
  const options = (command.options ?? []).map((each) => {
    const text = each.value === undefined ? `--${each.name}` : `--${each.name} ${each.value}`;
    const repeated = each.multiple ? "…" : "";
    return each.required ? text + repeated : `[${text}]${repeated}`;
  });
  return [program.name, command.name, ...positionals, ...options].join(" ");
}

function nameOf(positional: PositionalSpec): string {
  return positional.choices?.join("|") ?? positional.name;
}

function labelOf(option: OptionSpec): string {
  const short = option.short === undefined ? "" : `-${option.short}, `;
  return `${short}--${option.name}${option.value === undefined ? "" : ` ${option.value}`}`;
}

/** Two columns; a wide left cell takes a line of its own. */
function table(rows: readonly [left: string, right: string][]): string {
  const width = 28;
  return rows
    .map(([left, right]) => {
      const gap = left.length <= width ? " ".repeat(width - left.length) : `\n  ${" ".repeat(width)}`;
      return `  ${left}${gap}  ${right}\n`;
    })
    .join("");
}

function unknownCommand(program: Program, given: string): string {
  const names = program.commands.map((command) => command.name);
  if (given === "") return `no command given, expected one of ${names.join(", ")}`;
  const near = nearest(given, names);
  const meant = near === undefined ? `expected one of ${names.join(", ")}` : `did you mean ${near}?`;
  return `unknown command ${JSON.stringify(given)}, ${meant}`;
}

function complain(io: CliIo, title: string, problem: string, help: string): ExitCode {
  io.err(`${title}: ${problem} (see ${help})\n`);
  return EXIT.usage;
}
