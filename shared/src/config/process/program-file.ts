// Machine. Finds and reads the configuration file of a program for its commands.
import { stat } from "node:fs/promises";
import { wrongUsage, type Arguments, type Complaint } from "../cli.ts";
import { formatConfigError, type ConfigError } from "../config-error.ts";
import { environment } from "../env.ts";

/** The option that names the file. */
export const CONFIG_OPTION = {
  name: "config",
  value: "F",
  short: "c",
  help: "process configuration; default: the program's .yaml here, then in /etc/culvert",
} as const;

/** Reads the configuration that the arguments name, or that lies where `program` looks for it; or says all that is wrong with it. */
export async function loadProgramFile<C extends object>(
  program: string,
  args: Arguments,
  load: (file: string, variables: ReadonlyMap<string, string>) => Promise<C | readonly ConfigError[]>,
): Promise<C | Complaint> {
  const file = args.text("config") ?? (await firstExisting([`${program}.yaml`, `/etc/culvert/${program}.yaml`]));
  if (file === undefined) {
    return wrongUsage(`no --config given, and neither ./${program}.yaml nor /etc/culvert/${program}.yaml exists`);
  }
  const config = await load(file, environment());
  return isErrors(config) ? wrongUsage(listed("configuration", config.map(formatConfigError))) : config;
}

/** One error as it is, several under their number. */
export function listed(what: string, lines: readonly string[]): string {
  return lines.length === 1 ? (lines[0] ?? "") : `${lines.length} errors in the ${what}:\n${lines.join("\n")}`;
}

async function firstExisting(files: readonly string[]): Promise<string | undefined> {
  for (const file of files) {
    const found = await stat(file).then(
      (entry) => entry.isFile(),
      () => false,
    );
    if (found) return file;
  }
  return undefined;
}

function isErrors(value: object): value is readonly ConfigError[] {
  return Array.isArray(value);
}
