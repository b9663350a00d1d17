// For tests: YAML text to resources, and problems as one line each.
import { loadDocuments } from "../load.ts";
import { routing } from "../routing/routing.ts";
import type { Problem } from "../snapshot.ts";
import { parseResource } from "./parse-resource.ts";
import type { ParsedResources, Resource } from "./resource.ts";

/** Reads every document of a text that is well-formed YAML. */
export function parseText(text: string, file = "f.yaml"): ParsedResources {
  const resources: Resource[] = [];
  const problems: Problem[] = [];
  for (const loaded of loadDocuments(file, Buffer.from(text))) {
    if ("error" in loaded) throw new Error(`${loaded.error.line}: ${loaded.error.text}`);
    const parsed = parseResource(loaded.node, routing.kinds);
    resources.push(...parsed.resources);
    problems.push(...parsed.problems);
  }
  return { resources, problems };
}

/** `error 3: path: text`, `-` in place of the severity when the resource fails closed. */
export function brief(problems: readonly Problem[]): string[] {
  return problems.map(
    ({ severity, line, path, text }) => `${severity === "error" ? "error" : "-"} ${line}: ${path}: ${text}`,
  );
}
