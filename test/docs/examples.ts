// Pure. The examples of the pages under `docs`: the blocks between fences, and the command lines in them.
import { parseAllDocuments } from "yaml";

/** A block. */
export interface Example {
  readonly page: string;
  /** Of its first line, from 1. */
  readonly line: number;
  /** What the fence says that it is: `yaml`, or nothing. */
  readonly language: string;
  readonly text: string;
}

/** All blocks of a page. */
export function examplesOf(page: string, markdown: string): Example[] {
  const examples: Example[] = [];
  let begun: { readonly line: number; readonly language: string; readonly lines: string[] } | undefined;
  for (const [index, line] of markdown.split("\n").entries()) {
    const fence = /^```(\w*)$/.exec(line);
    if (fence === null) begun?.lines.push(line);
    else if (begun === undefined) begun = { line: index + 2, language: fence[1] ?? "", lines: [] };
    else {
      examples.push({ page, line: begun.line, language: begun.language, text: begun.lines.join("\n") });
      begun = undefined;
    }
  }
  return examples;
}

/** The documents of a block of YAML; throws what is wrong with it. */
export function documentsOf({ text }: Example): unknown[] {
  return parseAllDocuments(text).map((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw error;
    return document.toJS() as unknown;
  });
}

/** One of our programs with its arguments. */
export interface CommandLine {
  readonly program: "uproxy" | "waypoint" | "authority";
  readonly args: readonly string[];
}

const PROGRAM = /(?:^|[/\s])(uproxy|waypoint|authority)((?:\s+\S+)+)$/;

/** The command lines of a block that is no YAML; comments after them are left out, quoted words stay one. */
export function commandLinesOf({ text }: Example): CommandLine[] {
  const found: CommandLine[] = [];
  for (const line of text.split("\n")) {
    const words = (line.split(/\s+#\s/, 1)[0] ?? "").trim();
    const match = PROGRAM.exec(/^(?:Exec\w+=\+?\S+|uproxy|waypoint|authority)\s/.test(words) ? words : "");
    const [, program, rest = ""] = match ?? [];
    if (program === undefined) continue;
    const args = [...rest.matchAll(/'[^']*'|\S+/g)].map(([word]) => word);
    found.push({ program: program as CommandLine["program"], args });
  }
  return found;
}
