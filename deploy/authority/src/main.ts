#!/usr/bin/env -S node --max-semi-space-size=4 --disable-warning=ExperimentalWarning
// Root. The authority: command line in, exit code out.
import { runCommandLine } from "@culvert/shared/config/cli.ts";
import { authorityProgram } from "./program.ts";

// Set, not exit(): what was written must be able to leave the process first.
process.exitCode = await runCommandLine(authorityProgram, process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
});
