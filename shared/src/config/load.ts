// Pure. Bytes of a YAML or JSON file to trees with places, inside bounds that are checked before anything is built from
// the bytes: hostile input costs what its size allows, and answers with an error that names its line.
import { Composer, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, Parser, type Document } from "yaml";
import type { ConfigError } from "./config-error.ts";
import { shown, type MapEntry, type Node } from "./tree.ts";

/** What one file may hold. */
export const LOAD_LIMITS = {
  /** A Kubernetes object may not be larger than this in etcd (1.5 MiB), and people's files are a hundredth of it. */
  bytesPerFile: 1024 * 1024,
  /** Ten bytes a line in a file of the largest size. Each line costs memory, whatever is on it. */
  linesPerFile: 100_000,
  /** One file of the largest size, cut into the smallest resources. */
  documentsPerFile: 10_000,
  /** The deepest resource that Culvert reads has 12 levels. */
  depth: 64,
  /** Lexical tokens, about nine for a line of block YAML. Bounds the longest stretch between two pauses: 0.1 to 0.2 s. */
  tokensPerDocument: 50_000,
  /** Errors that are reported of one document; the others add nothing to the first ones. */
  errorsPerDocument: 10,
  /** Aliases, all documents together. */
  aliases: 100,
  /** Nodes of one document with every alias counted as the copy that it stands for. */
  expandedNodes: 100_000,
} as const;

/** One document, or one error. A file that has an error must not be used. */
export type Loaded = { readonly node: Node } | { readonly error: ConfigError };

/**
 * Reads the documents of a file one by one, so that the caller may pause between two of them. Empty documents are left
 * out. After an error the remaining documents are still read as far as that is safe, to report all errors at once.
 *
 * @param source name of the file, for the places
 */
export function* loadDocuments(source: string, bytes: Uint8Array): Generator<Loaded> {
  const lines = new LineCounter();
  const refuse = (offset: number, text: string): Loaded => ({
    error: { file: source, line: offset < 0 ? 1 : lines.linePos(offset).line, path: "", text: shown(text) },
  });
  const text = decode(bytes);
  if ("refused" in text) {
    yield { error: { file: source, line: text.line, path: "", text: text.refused } };
    return;
  }
  try {
    let documents = 0;
    let aliases = 0;
    for (const step of compose(text.text, lines)) {
      if ("refused" in step) {
        yield refuse(step.offset, step.refused);
        return;
      }
      const { document } = step;
      documents += 1;
      if (documents > LOAD_LIMITS.documentsPerFile) {
        yield refuse(document.range[0], `expected at most ${LOAD_LIMITS.documentsPerFile} documents in a file`);
        return;
      }
      const issues = [...document.errors, ...document.warnings].slice(0, LOAD_LIMITS.errorsPerDocument);
      for (const issue of issues) yield refuse(issue.pos[0], firstLine(issue.message));
      if (issues.length > 0 || document.contents === null) continue;
      const conversion = new Conversion(source, lines, aliases);
      const node = conversion.convert(document.contents, 1);
      aliases = conversion.aliases;
      for (const issue of conversion.issues) yield refuse(issue.offset, issue.text);
      const empty = node?.kind === "scalar" && node.value === null;
      if (conversion.issues.length === 0 && node !== undefined && !empty) yield { node };
    }
  } catch (error) {
    // The parser is third-party code and this is outside input: whatever it throws is an error of the file.
    yield refuse(-1, `cannot be parsed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Reads a file of one document: the process configuration, or a value from the environment. */
export function loadOne(source: string, bytes: Uint8Array): Node | undefined | readonly ConfigError[] {
  const errors: ConfigError[] = [];
  let only: Node | undefined;
  for (const loaded of loadDocuments(source, bytes)) {
    if ("error" in loaded) errors.push(loaded.error);
    else if (only === undefined) only = loaded.node;
    else errors.push({ file: source, line: loaded.node.line, path: "", text: "expected one document, found another" });
  }
  return errors.length > 0 ? errors : only;
}

type Refused = { readonly refused: string };

function decode(bytes: Uint8Array): { readonly text: string } | (Refused & { readonly line: number }) {
  if (bytes.length > LOAD_LIMITS.bytesPerFile) {
    return { refused: `expected at most ${LOAD_LIMITS.bytesPerFile} bytes, found ${bytes.length}`, line: 1 };
  }
  let line = 1;
  for (const byte of bytes) {
    if (byte === 0x0a) {
      line += 1;
      if (line <= LOAD_LIMITS.linesPerFile) continue;
      return { refused: `expected at most ${LOAD_LIMITS.linesPerFile} lines`, line };
    }
    if (byte < 0x20 && byte !== 0x09 && byte !== 0x0d) {
      return { refused: `expected text, found control character 0x${byte.toString(16).padStart(2, "0")}`, line };
    }
  }
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { refused: "expected UTF-8", line: 1 };
  }
}

type Step = { readonly document: Document.Parsed } | (Refused & { readonly offset: number });

/**
 * The parser's own stages, joined by hand so that depth and number of tokens are seen while they grow: its parser
 * keeps the open collections on an explicit stack, and only what passed here reaches the recursive composer.
 */
function* compose(text: string, lines: LineCounter): Generator<Step> {
  const parser = new Parser(lines.addNewLine);
  // Duplicate keys are found by `Conversion`: the composer compares each key with all others. Merge keys stay off.
  const composer = new Composer({
    version: "1.2",
    schema: "core",
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
  });
  let tokens = 0;
  lines.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    tokens += 1;
    if (tokens > LOAD_LIMITS.tokensPerDocument) {
      yield {
        refused: `expected at most ${LOAD_LIMITS.tokensPerDocument} tokens in a document`,
        offset: parser.offset,
      };
      return;
    }
    for (const token of parser.next(lexeme)) {
      if (token.type === "directive") {
        yield { refused: "expected no %YAML or %TAG directive", offset: token.offset };
        return;
      }
      // The composer hands a document out once it has the next one.
      if (token.type === "document") tokens = 0;
      for (const document of composer.next(token)) yield { document };
    }
    // One entry of the stack is the document itself.
    if (parser.stack.length > LOAD_LIMITS.depth + 1) {
      yield { refused: `expected at most ${LOAD_LIMITS.depth} levels of nesting`, offset: parser.offset };
      return;
    }
  }
  for (const token of parser.end()) for (const document of composer.next(token)) yield { document };
  for (const document of composer.end()) yield { document };
}

/** A converted node with what its copy would cost. */
interface Anchored {
  readonly node: Node;
  readonly nodes: number;
  readonly depth: number;
}

/** Turns one composed document into a tree. Recursive, to a depth that has been checked. */
class Conversion {
  readonly issues: { readonly offset: number; readonly text: string }[] = [];
  aliases: number;
  readonly #source: string;
  readonly #lines: LineCounter;
  readonly #anchors = new Map<string, Anchored>();
  #nodes = 0;
  #deepest = 0;

  constructor(source: string, lines: LineCounter, aliases: number) {
    this.#source = source;
    this.#lines = lines;
    this.aliases = aliases;
  }

  /** The tree of a composed node (an absent one is null); `undefined` after an issue, which ends the conversion. */
  convert(value: unknown, depth: number, parentOffset = 0): Node | undefined {
    if (this.issues.length > 0) return undefined;
    if (isAlias(value)) return this.#repeat(value.source, value.range?.[0] ?? 0, depth);
    const anchor = isScalar(value) || isMap(value) || isSeq(value) ? value.anchor : undefined;
    if (anchor === undefined) return this.#plain(value, depth, parentOffset);
    // Until the node is whole its name means nothing: an alias inside it would make a circle.
    this.#anchors.delete(anchor);
    const before = this.#nodes;
    const outer = this.#deepest;
    this.#deepest = depth;
    const node = this.#plain(value, depth, parentOffset);
    const own = { nodes: this.#nodes - before, depth: this.#deepest - depth };
    this.#deepest = Math.max(outer, this.#deepest);
    if (node !== undefined) this.#anchors.set(anchor, { node, ...own });
    return node;
  }

  #plain(value: unknown, depth: number, parentOffset: number): Node | undefined {
    const offset = (isScalar(value) || isMap(value) || isSeq(value) ? value.range?.[0] : undefined) ?? parentOffset;
    if (!this.#count(1, depth, offset)) return undefined;
    const place = { source: this.#source, line: this.#lines.linePos(offset).line };
    if (isMap(value)) {
      const entries = new Map<string, MapEntry>();
      for (const { key, value: item } of value.items) {
        const at = (isScalar(key) ? key.range?.[0] : undefined) ?? offset;
        const name = isScalar(key) ? keyName(key.value, key.source) : undefined;
        if (name === undefined) return this.#refuse(at, "expected a plain key");
        if (entries.has(name)) {
          const first = entries.get(name)?.line;
          return this.#refuse(at, `key ${JSON.stringify(name)} is there twice, first in line ${first}`);
        }
        const line = this.#lines.linePos(at).line;
        const node = this.convert(item, depth + 1, at);
        if (node === undefined) return undefined;
        entries.set(name, { line, value: node });
      }
      return { kind: "map", entries, ...place };
    }
    if (isSeq(value)) {
      const items: Node[] = [];
      for (const item of value.items) {
        const node = this.convert(item, depth + 1, offset);
        if (node === undefined) return undefined;
        items.push(node);
      }
      return { kind: "list", items, ...place };
    }
    const scalar: unknown = isScalar(value) ? value.value : value;
    if (scalar === null || scalar === undefined) return { kind: "scalar", value: null, ...place };
    if (typeof scalar === "string" || typeof scalar === "number" || typeof scalar === "boolean") {
      return { kind: "scalar", value: scalar, ...place };
    }
    return this.#refuse(offset, "expected a string, number or boolean");
  }

  #repeat(name: string, offset: number, depth: number): Node | undefined {
    this.aliases += 1;
    if (this.aliases > LOAD_LIMITS.aliases) {
      return this.#refuse(offset, `expected at most ${LOAD_LIMITS.aliases} aliases in a file`);
    }
    const anchored = this.#anchors.get(name);
    if (anchored === undefined) return this.#refuse(offset, `alias *${name} has no whole anchor before it`);
    return this.#count(anchored.nodes, depth + anchored.depth, offset) ? anchored.node : undefined;
  }

  #count(nodes: number, depth: number, offset: number): boolean {
    this.#nodes += nodes;
    this.#deepest = Math.max(this.#deepest, depth);
    if (this.#nodes > LOAD_LIMITS.expandedNodes) {
      this.#refuse(offset, `expected at most ${LOAD_LIMITS.expandedNodes} values in a document, aliases counted out`);
    } else if (depth > LOAD_LIMITS.depth) {
      this.#refuse(offset, `expected at most ${LOAD_LIMITS.depth} levels of nesting, aliases counted out`);
    }
    return this.issues.length === 0;
  }

  #refuse(offset: number, text: string): undefined {
    this.issues.push({ offset, text });
    return undefined;
  }
}

/** A key as text: numbers and booleans by their spelling, so that `80: x` has the key "80". */
function keyName(value: unknown, spelling: string | undefined): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return spelling ?? String(value);
  return undefined;
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}
