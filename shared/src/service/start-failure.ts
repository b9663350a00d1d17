// Pure. Why a service cannot start.
import type { ExitCode } from "../config/cli.ts";

/** What the user is told, line by line, and the exit code of the program. */
export class StartFailure {
  readonly exit: ExitCode;
  readonly lines: readonly string[];

  constructor(exit: ExitCode, lines: readonly string[]) {
    this.exit = exit;
    this.lines = lines;
  }
}
