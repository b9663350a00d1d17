// Machine. The log: one JSON object a line with `time level message code` and named fields.
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { FloodGate, HELD } from "./flood-gate.ts";
import { jsonText, MAX_TEXT_BYTES } from "./json-text.ts";
import { TimeText } from "./time-text.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Levels from most to least talkative. */
export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Named values of a line. `undefined` is left out. No secret may be among them. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** What a log needs. */
export interface LogOptions {
  readonly level: LogLevel;
  /** Takes one line without newline and never blocks: `LineWriter.line`. */
  readonly write: (line: string) => void;
  readonly clock: Clock;
}

/** Lines of one message per second; what is beyond is counted and told by the next line as `suppressed`. */
const LINES_PER_SECOND = 100;

/** The log of a process. */
export class Log {
  readonly #write: (line: string) => void;
  readonly #clock: Clock;
  readonly #gate: FloodGate;
  readonly #time = new TimeText();
  #level: LogLevel;
  #rank: number;

  constructor(options: LogOptions) {
    this.#write = options.write;
    this.#clock = options.clock;
    this.#gate = new FloodGate(options.clock, LINES_PER_SECOND);
    this.#level = options.level;
    this.#rank = LOG_LEVELS.indexOf(options.level);
  }

  get level(): LogLevel {
    return this.#level;
  }

  /** Lines held back because the same message came too often. */
  get suppressed(): number {
    return this.#gate.suppressed;
  }

  setLevel(level: LogLevel): void {
    this.#level = level;
    this.#rank = LOG_LEVELS.indexOf(level);
  }

  debug(message: string, fields?: LogFields): void {
    if (this.#rank <= 0) this.#line("debug", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    if (this.#rank <= 1) this.#line("info", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    if (this.#rank <= 2) this.#line("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#line("error", message, fields);
  }

  /** Says at level warn that something failed, with its code and particulars. */
  failure(message: string, failure: Failure, fields?: LogFields): void {
    this.warn(message, { code: failure.code, error: failure.toString(), ...fields });
  }

  #line(level: LogLevel, message: string, fields: LogFields | undefined): void {
    const held = this.#gate.admit(message);
    if (held === HELD) return;
    let line = `{"time":"${this.#time.of(this.#clock.now())}","level":"${level}","message":${jsonText(message, MAX_TEXT_BYTES)}`;
    if (fields !== undefined) {
      for (const [name, value] of Object.entries(fields)) {
        if (value !== undefined) line += `,${jsonText(name)}:${valueText(name, value)}`;
      }
    }
    if (held > 0) line += `,"suppressed":${held}`;
    this.#write(`${line}}`);
  }
}

function valueText(name: string, value: string | number | boolean): string {
  if (typeof value === "string") return jsonText(value, name === "error" ? MAX_TEXT_BYTES : undefined);
  // JSON has no NaN and no infinity.
  return typeof value === "number" && !Number.isFinite(value) ? "null" : String(value);
}
