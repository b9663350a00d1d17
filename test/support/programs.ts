// Machine. The product's programs as tests start them: with their own interpreter flags, a configuration file written
// for them, and readiness asked the way an operator would ask.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { stringify } from "yaml";
import { REPOSITORY } from "./env.ts";
import { run, startProgram, type Program, type ProgramOptions, type Result } from "./process.ts";
import type { Resource } from "./resources.ts";

/** A program of Culvert. */
export type ProgramName = "uproxy" | "waypoint" | "authority";

const SOURCES: Readonly<Record<ProgramName, string>> = {
  uproxy: join(REPOSITORY, "uproxy/bin/uproxy.mjs"),
  waypoint: join(REPOSITORY, "waypoint/bin/waypoint.mjs"),
  authority: join(REPOSITORY, "deploy/authority/bin/authority.mjs"),
};

/** Node's flags as the program's first line names them (`#!/usr/bin/env -S node --flag`), so that tests run what users run. */
function interpreterFlags(source: string): string[] {
  const [first = ""] = readFileSync(source, "utf8").split("\n", 1);
  return first.startsWith("#!") ? first.split(/\s+/).filter((word) => word.startsWith("--")) : [];
}

/** Command line of a program: the pid of the process is then Node's own, not a shell's. */
export function commandLine(name: ProgramName, args: readonly string[]): { command: string; args: string[] } {
  const source = SOURCES[name];
  return { command: process.execPath, args: [...interpreterFlags(source), source, ...args] };
}

/** Runs a program to its end: for `check`, `explain`, `issue` and every wrong use. */
export function runProgram(
  name: ProgramName,
  args: readonly string[],
  options: Partial<ProgramOptions> = {},
): Promise<Result> {
  const line = commandLine(name, args);
  return run(line.command, line.args, { name, ...options });
}

/** Writes a file so that a watcher sees the old content or the new, never half of it. */
export function writeWhole(file: string, content: string): void {
  const temporary = `${file}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, file);
}

/** Writes resources as one YAML file of a mesh folder. */
export function writeResources(folder: string, name: string, resources: readonly Resource[]): void {
  mkdirSync(folder, { recursive: true });
  writeWhole(join(folder, `${name}.yaml`), resources.map((resource) => stringify(resource)).join("---\n"));
}

/** Writes `<folder>/<name>.yaml` and starts `<program> run` with it. Not waited for. */
export function spawnWithConfig(
  program: ProgramName,
  options: {
    readonly name: string;
    readonly folder: string;
    readonly config: unknown;
    /** Command in front, such as `ip netns exec NAME`. */
    readonly prefix?: readonly string[];
    readonly keep?: number;
    /** Options of the command, after the configuration. */
    readonly options?: readonly string[];
  },
): Program {
  const file = join(options.folder, `${options.name}.yaml`);
  writeFileSync(file, stringify(options.config));
  const line = commandLine(program, ["run", "--config", file, ...(options.options ?? [])]);
  const [command = line.command, ...args] = [...(options.prefix ?? []), line.command, ...line.args];
  return startProgram({
    name: options.name,
    command,
    args,
    ...(options.keep === undefined ? {} : { keep: options.keep }),
  });
}
