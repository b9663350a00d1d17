// Machine. The project's own sources as the rules of the house read them: comments and strings told apart from code.
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

/** The root of the checkout. */
export const ROOT: string = join(import.meta.dirname, "../..");

/** One source file. */
export interface Source {
  /** From the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** The text with comments blanked and strings emptied, so that a rule about code finds code; lines stay where they are. */
  readonly code: string;
  readonly lines: number;
  readonly isTest: boolean;
}

const FOLDERS = ["shared", "uproxy", "waypoint", "deploy", "test"];

/** Read once for all rules of a process: to tell comments and strings from code takes a second. */
let read: readonly Source[] | undefined;

/** All TypeScript files of the project. */
export function allSources(): readonly Source[] {
  return (read ??= readSources());
}

function readSources(): readonly Source[] {
  return FOLDERS.flatMap((folder) => walk(join(ROOT, folder)))
    .filter((file) => file.endsWith(".ts"))
    .map((file) => {
      const path = relative(ROOT, file).split(sep).join("/");
      const text = readFileSync(file, "utf8");
      const isTest = path.startsWith("test/") || /\.test\.ts$|fixtures?\.ts$/.test(path);
      return { path, text, code: codeOf(text), lines: text.split("\n").length - 1, isTest };
    });
}

/** Sources that ship: neither tests and what only they use, nor the demo, nor what makes bundles, images, packages and messages. */
export function productSources(): readonly Source[] {
  return allSources().filter(
    (source) => !source.isTest && !/^deploy\/(demo|bundle|images|package|authority\/proto)\//.test(source.path),
  );
}

/** Every file of the checkout that is kept in it, text or not, from the root. */
export function walk(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === "node_modules" || entry.name === ".git" || entry.name === ".cache") return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
}

/** The modules that a source imports, as written, with whether only types are taken. */
export function importsOf(source: Source): readonly { readonly from: string; readonly typeOnly: boolean }[] {
  const found: { from: string; typeOnly: boolean }[] = [];
  for (const match of source.text.matchAll(
    /^(?:import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"|\bimport\("([^"]+)"\)/gm,
  )) {
    const names = /\{([^}]*)\}/.exec(match[0])?.[1];
    const allTypes =
      names !== undefined && names.split(",").every((name) => name.trim() === "" || /^\s*type\s/.test(name));
    found.push({ from: match[2] ?? match[3] ?? "", typeOnly: match[1] !== undefined || allTypes });
  }
  return found;
}

/** The path of the project's file that an import means; `undefined` for packages and built-in modules. */
export function resolveImport(source: Source, from: string): string | undefined {
  if (from.startsWith(".")) {
    const folder = source.path.split("/").slice(0, -1);
    for (const part of from.split("/")) {
      if (part === "..") folder.pop();
      else if (part !== ".") folder.push(part);
    }
    return folder.join("/");
  }
  const own = /^@culvert\/(shared|uproxy|waypoint|authority|test)\/(.+)$/.exec(from);
  if (own === null) return undefined;
  const [, name = "", path = ""] = own;
  if (name === "test") return `test/${path}`;
  return name === "authority" ? `deploy/authority/src/${path}` : `${name}/src/${path}`;
}

/** Every place where `pattern` stands in the code, as `path:line`. */
export function places(source: Source, pattern: RegExp): readonly string[] {
  const found: string[] = [];
  for (const [index, line] of source.code.split("\n").entries()) {
    if (pattern.test(line)) found.push(`${source.path}:${index + 1}`);
  }
  return found;
}

/** Blanks comments and the insides of strings and regular expressions; template expressions are kept as code. */
export function codeOf(text: string): string {
  let out = "";
  let at = 0;
  /** From the character that begins text of a template to the one that ends it or leads into an expression. */
  const template = (): void => {
    out += text[at];
    at += 1;
    blank(endOfTemplate(text, at));
    if (text[at] !== "$") {
      at += 1;
      return;
    }
    templates.push(braces);
    out += "${";
    at += 2;
    braces += 1;
  };
  const blank = (end: number): void => {
    for (; at < end; at += 1) out += text[at] === "\n" ? "\n" : " ";
  };
  const templates: number[] = [];
  let braces = 0;
  while (at < text.length) {
    const char = text[at] ?? "";
    const next = text[at + 1];
    if (char === "/" && next === "/") blank(endOf(text, at, "\n"));
    else if (char === "/" && next === "*") blank(endOf(text, at, "*/") + 2);
    else if (char === '"' || char === "'") {
      out += char;
      at += 1;
      blank(endOfString(text, at, char));
      // The closing quote, which would begin another string; a line that ends before it has none.
      if (text[at] === char) {
        out += char;
        at += 1;
      }
    } else if (char === "`") {
      template();
    } else if (char === "}" && templates.at(-1) === braces - 1) {
      templates.pop();
      braces -= 1;
      template();
    } else if (char === "/" && /[=(,:[!&|?{;\n]\s*$|\breturn\s*$/.test(out.slice(-20))) {
      out += char;
      at += 1;
      blank(endOfPattern(text, at));
    } else {
      if (char === "{") braces += 1;
      if (char === "}") braces -= 1;
      out += char;
      at += 1;
    }
  }
  return out;
}

function endOf(text: string, from: number, mark: string): number {
  const end = text.indexOf(mark, from);
  return end === -1 ? text.length : end;
}

function endOfString(text: string, from: number, quote: string): number {
  let at = from;
  while (at < text.length && text[at] !== quote && text[at] !== "\n") at += text[at] === "\\" ? 2 : 1;
  return at;
}

function endOfTemplate(text: string, from: number): number {
  let at = from;
  while (at < text.length && text[at] !== "`" && !(text[at] === "$" && text[at + 1] === "{")) {
    at += text[at] === "\\" ? 2 : 1;
  }
  return at;
}

function endOfPattern(text: string, from: number): number {
  let at = from;
  let inClass = false;
  while (at < text.length && text[at] !== "\n" && (inClass || text[at] !== "/")) {
    if (text[at] === "[") inClass = true;
    if (text[at] === "]") inClass = false;
    at += text[at] === "\\" ? 2 : 1;
  }
  return at;
}
