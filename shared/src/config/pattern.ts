// Pure. Regular expressions that operators write: RE2's syntax, compared with the whole of a value, in time that grows with its
// length and nothing else.
import { RE2JS, RE2Set } from "re2js";
import { fail, isFailure, type Failure } from "../failure/failure.ts";

/** The longest value that Gateway API lets a match have. */
const MOST_CHARACTERS = 4096;
/** A counted repetition writes its body again and again: without a bound, ten characters are a program of a thousand steps. */
const MOST_INSTRUCTIONS = 1000;
/** Instructions times characters: at worst some 50 ms. A common expression of 30 instructions may look at 16 KiB. */
const MOST_STEPS = 500_000;
/** What one expression may remember of the values that it has seen, in bytes; beyond it, it forgets and begins anew. */
const CACHE_BYTES = 128 * 1024;

/** An expression, ready to compare. */
export class Pattern {
  readonly text: string;
  /** Longer values are not looked at: see `matches`. */
  readonly longestInput: number;
  readonly #set: RE2Set;

  /** Use `compilePattern`. */
  constructor(text: string, instructions: number) {
    this.text = text;
    this.longestInput = Math.floor(MOST_STEPS / instructions);
    this.#set = new RE2Set(RE2Set.ANCHOR_BOTH, 0, CACHE_BYTES);
    this.#set.add(text);
    this.#set.compile();
  }

  /** Whether the whole of `input` matches; `undefined` when it is longer than `longestInput`, so that nobody can say. */
  matches(input: string): boolean | undefined {
    return input.length > this.longestInput ? undefined : this.#set.match(input).length > 0;
  }
}

/** Compiles an expression; ROUTE_NOT_UNDERSTOOD says what is wrong with it. */
export function compilePattern(text: string): Pattern | Failure {
  const instructions = patternSize(text);
  return isFailure(instructions) ? instructions : new Pattern(text, instructions);
}

/** Instructions of an expression, without making it ready: a third of the cost. The failure is that of `compilePattern`. */
export function patternSize(text: string): number | Failure {
  if (text.length > MOST_CHARACTERS) {
    return refused(text, `has ${text.length} characters, at most ${MOST_CHARACTERS} are allowed`);
  }
  let instructions: number;
  try {
    instructions = RE2JS.compile(text).programSize();
  } catch (error) {
    // The engine says everything that is wrong with an expression by throwing.
    return refused(text, error instanceof Error ? error.message.replace(/^error parsing regexp: /, "") : String(error));
  }
  if (instructions <= MOST_INSTRUCTIONS) return instructions;
  return refused(text, `compiles to ${instructions} instructions, at most ${MOST_INSTRUCTIONS} are allowed`);
}

function refused(text: string, why: string): Failure {
  return fail("ROUTE_NOT_UNDERSTOOD", `the regular expression ${JSON.stringify(text.slice(0, 80))}: ${why}`);
}
