// Pure. Reading the fields of a mapping, each by name; a field that nobody asked for is reported, never skipped.
import { nearest } from "../near-miss.ts";
import { keyPath, type MapNode, type Node } from "../tree.ts";
import type { Report } from "./report.ts";

/** The fields of one mapping. Every reader answers `undefined` for an absent field and, after a report, for a bad one. */
export class Fields {
  readonly node: MapNode;
  readonly path: string;
  readonly #report: Report;
  readonly #asked = new Set<string>();

  constructor(node: MapNode, path: string, report: Report) {
    this.node = node;
    this.path = path;
    this.#report = report;
  }

  /** The path of a field. */
  at(name: string): string {
    return keyPath(this.path, name);
  }

  /** A field as it is; `null` counts as absent, as in Kubernetes. */
  get(name: string): Node | undefined {
    this.#asked.add(name);
    const node = this.node.entries.get(name)?.value;
    return node?.kind === "scalar" && node.value === null ? undefined : node;
  }

  /** Fields that may be there and change nothing for Culvert. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#asked.add(name);
  }

  /** A string that `accepts` takes. */
  string(name: string, expectation = "a string", accepts: (text: string) => boolean = () => true): string | undefined {
    const node = this.get(name);
    if (node === undefined) return undefined;
    const value = node.kind === "scalar" ? node.value : undefined;
    if (typeof value === "string" && accepts(value)) return value;
    return this.#report.expected(node, this.at(name), expectation);
  }

  /** One of some words. */
  word<const T extends string>(name: string, words: readonly T[]): T | undefined {
    const node = this.get(name);
    if (node === undefined) return undefined;
    const value = node.kind === "scalar" ? node.value : undefined;
    return words.find((word) => word === value) ?? this.#report.expected(node, this.at(name), words.join(" | "));
  }

  /** A whole number in a range. */
  integer(name: string, least: number, most: number): number | undefined {
    const node = this.get(name);
    if (node === undefined) return undefined;
    const value = node.kind === "scalar" ? node.value : undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
    return this.#report.expected(node, this.at(name), `whole number from ${least} to ${most}`);
  }

  /** A number in a range. */
  number(name: string, least: number, most: number): number | undefined {
    const node = this.get(name);
    if (node === undefined) return undefined;
    const value = node.kind === "scalar" ? node.value : undefined;
    if (typeof value === "number" && value >= least && value <= most) return value;
    return this.#report.expected(node, this.at(name), `number from ${least} to ${most}`);
  }

  /** `true` or `false`. */
  boolean(name: string): boolean | undefined {
    const node = this.get(name);
    if (node === undefined) return undefined;
    if (node.kind === "scalar" && typeof node.value === "boolean") return node.value;
    return this.#report.expected(node, this.at(name), "true or false");
  }

  /** The fields of a mapping. */
  fields(name: string, report: Report = this.#report): Fields | undefined {
    const node = this.get(name);
    if (node === undefined) return undefined;
    if (node.kind === "map") return new Fields(node, this.at(name), report);
    return report.expected(node, this.at(name), "a mapping");
  }

  /** The items of a list with their paths. */
  list(name: string): Item[] | undefined {
    const node = this.get(name);
    if (node === undefined) return undefined;
    if (node.kind !== "list") return this.#report.expected(node, this.at(name), "a list");
    return node.items.map((item, index) => ({ node: item, path: `${this.at(name)}[${index}]` }));
  }

  /** The items of a list of mappings; an item of another form is reported and left out. */
  *each(name: string, report: () => Report = () => this.#report): Generator<{ fields: Fields; report: Report }> {
    for (const { node, path } of this.list(name) ?? []) {
      const itemReport = report();
      if (node.kind === "map") yield { fields: new Fields(node, path, itemReport), report: itemReport };
      else itemReport.expected(node, path, "a mapping");
    }
  }

  /** A mapping from names to strings. */
  strings(name: string): Map<string, string> | undefined {
    const fields = this.fields(name);
    if (fields === undefined) return undefined;
    const values = new Map<string, string>();
    for (const key of fields.node.entries.keys()) {
      // A null is no string here: `app:` would otherwise select everything.
      const node = fields.node.entries.get(key)?.value;
      const value = node?.kind === "scalar" ? node.value : undefined;
      if (typeof value === "string") values.set(key, value);
      else if (node !== undefined)
        this.#report.expected(node, fields.at(key), "a string (in quotes if it looks like another type)");
    }
    return values;
  }

  /** Reports every field that nobody has asked for, with the nearest one that is known. */
  end(severity: "error" | "not-understood" = "not-understood"): void {
    for (const [name, { line }] of this.node.entries) {
      if (this.#asked.has(name)) continue;
      const guess = nearest(name, this.#asked);
      const text =
        guess === undefined ? "this field is not supported" : `this field is not supported; did you mean ${guess}?`;
      const place: Node = { kind: "scalar", value: null, source: this.node.source, line };
      if (severity === "error") this.#report.error(place, this.at(name), text);
      else this.#report.notUnderstood(place, this.at(name), text);
    }
  }
}

/** One item of a list. */
export interface Item {
  readonly node: Node;
  readonly path: string;
}
