// Pure. A manual page made of what `--help` says, so that it cannot say anything else.

/** What a program answers to `--help`. */
export interface HelpTexts {
  /** `uproxy`, say. */
  readonly name: string;
  /** Of the program. */
  readonly program: string;
  /** Of each of its commands, in the program's order. */
  readonly commands: readonly string[];
}

/** What is the same on all pages of a release. */
export interface Release {
  readonly version: string;
  /** Of the commit, in seconds since 1970. */
  readonly epoch: number;
}

interface Row {
  readonly left: string;
  readonly right: string;
}

const PROGRAMS = ["uproxy", "waypoint", "authority"];
/** As in `shared/src/config/cli.ts`. */
const EXITS = [
  ["0", "Done."],
  ["1", "Failed at run time."],
  ["2", "Wrong command line or configuration."],
  ["3", "Identity could not be had."],
  ["4", "A port could not be bound."],
] as const;

/** The names of the commands, out of the program's help. Throws when it has none: then it is no help text. */
export function commandsIn(name: string, programHelp: string): string[] {
  const commands = rowsOf(programHelp).flatMap(({ left }) => {
    const [program, command = ""] = left.split(" ");
    return program === name && /^[a-z]+$/.test(command) ? [command] : [];
  });
  if (commands.length === 0) throw new Error(`${name} --help: expected commands, found ${JSON.stringify(programHelp)}`);
  return commands;
}

/** The page in section 1, in troff's `man` macros. */
export function manPage({ name, program, commands }: HelpTexts, { version, epoch }: Release): string {
  const summary = program.slice(program.indexOf(": ") + 2, program.indexOf("\n"));
  const byDefault = /^Without a command: (\w+)\.$/m.exec(program)?.[1];
  const date = new Date(epoch * 1000).toISOString().slice(0, 10);
  const others = PROGRAMS.filter((other) => other !== name).map((other) => `.BR ${other} (1)`);
  return [
    `.TH ${name.toUpperCase()} 1 ${date} "culvert ${version}" Culvert`,
    ".SH NAME",
    `${name} \\- ${escaped(summary)}`,
    ".SH SYNOPSIS",
    `.B ${name}`,
    ".I COMMAND",
    ".RI [ OPTION ...]",
    ".SH DESCRIPTION",
    `${name} ${escaped(summary)}.`,
    ...(byDefault === undefined ? [] : [`Without a command it does what is told under ${byDefault}.`]),
    ".SH COMMANDS",
    ...commands.flatMap(commandSection),
    ".SH EXIT STATUS",
    ...EXITS.flatMap(([code, meaning]) => [".TP", code, meaning]),
    ".SH FILES",
    ".TP",
    `.I /etc/culvert/${name}.yaml`,
    "Process configuration, unless another file is named.",
    ".SH SEE ALSO",
    ...others.map((line, index) => (index < others.length - 1 ? `${line},` : line)),
    "",
  ].join("\n");
}

function commandSection(help: string): string[] {
  const [usage = "", , summary = ""] = help.split("\n");
  return [
    ".SS",
    escaped(usage),
    `${escaped(capitalized(summary))}.`,
    ...rowsOf(help).flatMap(({ left, right }) => [".TP", `.B ${escaped(left)}`, escaped(right)]),
  ];
}

/** The two columns of a help text; a wide left cell has a line of its own. */
function rowsOf(help: string): Row[] {
  const rows = help.matchAll(/^ {2}(\S.*?)(?: {2,}|\n {32})(\S.*)$/gm);
  return Array.from(rows, ([, left = "", right = ""]) => ({ left, right }));
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Text of which troff makes nothing else. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("…", "...").replace(/^[.']/, "\\&$&");
}
