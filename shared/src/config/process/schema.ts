// Pure. Tables that say what a configuration key may hold: the same table reads a tree, names every error with its
// place, fills in defaults, finds the overriding environment variables and becomes the reference documentation.
import type { ConfigError } from "../config-error.ts";
import { nearest } from "../near-miss.ts";
import { found, keyPath, type MapNode, type Node } from "../tree.ts";

/** What a reader answers after it has reported an error. */
export const INVALID: unique symbol = Symbol("invalid");
export type Invalid = typeof INVALID;

/** Collects the errors of one configuration. */
export class Errors {
  readonly list: ConfigError[] = [];

  /** Reports an error at a node; the answer is `INVALID`, to be returned at once. */
  add(node: Node, path: string, text: string): Invalid {
    this.list.push({ file: node.source, line: node.line, path, text });
    return INVALID;
  }

  /** Reports that a node holds something else than was expected. */
  expected(node: Node, path: string, expectation: string): Invalid {
    return this.add(node, path, `expected ${expectation}, found ${found(node)}`);
  }
}

/** Reads one kind of value. */
export interface Schema<T> {
  /** What is expected, as it stands in errors and in the documentation. */
  readonly expects: string;
  /** The keys, where the value is a mapping of known keys. */
  readonly keys?: ReadonlyMap<string, Key<unknown>>;
  /** What the items of a list are. */
  readonly item?: Schema<unknown>;
  /** Set where this release cannot act on the value: what works instead. */
  readonly notYet?: string;
  /** A plain text from the environment is taken as it is, not as YAML. */
  readonly plain: boolean;
  read(node: Node, path: string, errors: Errors): T | Invalid;
}

/** One key of a mapping. */
export interface Key<T> {
  readonly schema: Schema<T>;
  /** One sentence for the documentation. */
  readonly about: string;
  /** What an absent key stands for, as one would write it: a scalar, `{}` or `[]`. */
  readonly byDefault: string | number | undefined;
  readonly presence: "required" | "optional" | "defaulted";
}

/** A key that must be there. */
export function required<T>(schema: Schema<T>, about: string): Key<T> {
  return { schema, about, byDefault: undefined, presence: "required" };
}

/** A key that may be absent and is `undefined` then. */
export function optional<T>(schema: Schema<T>, about: string): Key<T | undefined> {
  return { schema, about, byDefault: undefined, presence: "optional" };
}

/** A key that has a value when it is absent. */
export function defaulted<T>(schema: Schema<T>, byDefault: string | number, about: string): Key<T> {
  return { schema, about, byDefault, presence: "defaulted" };
}

/** A mapping of keys that all have defaults or may be absent: its own absence is the empty mapping. */
export function section<T>(schema: Schema<T>, about: string): Key<T> {
  return { schema, about, byDefault: "{}", presence: "defaulted" };
}

/** A scalar that `parse` understands. */
export function scalar<T>(expects: string, parse: (value: string | number | boolean) => T | undefined): Schema<T> {
  return {
    expects,
    plain: true,
    read(node, path, errors) {
      const value = node.kind === "scalar" && node.value !== null ? parse(node.value) : undefined;
      return value === undefined ? errors.expected(node, path, expects) : value;
    },
  };
}

/** A choice of two, also as text. */
export const flag: Schema<boolean> = scalar("true | false", (value) => {
  if (typeof value === "boolean") return value;
  return value === "true" || value === "false" ? value === "true" : undefined;
});

/** One of some words. */
export function oneOf<const T extends string>(...words: readonly T[]): Schema<T> {
  return scalar(words.join(" | "), (value) => words.find((word) => word === value));
}

/** A whole number in a range, also as text. */
export function integer(least: number, most: number): Schema<number> {
  return scalar(`whole number from ${least} to ${most}`, (value) => {
    const number = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
    return typeof number === "number" && Number.isInteger(number) && number >= least && number <= most
      ? number
      : undefined;
  });
}

/** A scalar or a mapping, told apart by its form. */
export function either<A, B>(text: Schema<A>, mapping: Schema<B>): Schema<A | B> {
  return {
    expects: `${text.expects}, or ${mapping.expects}`,
    plain: false,
    read: (node, path, errors) => (node.kind === "map" ? mapping : text).read(node, path, errors),
  };
}

/** A list of values of one kind. */
export function listOf<T>(item: Schema<T>): Schema<readonly T[]> {
  return {
    expects: `list of ${item.expects}`,
    item,
    plain: false,
    read(node, path, errors) {
      if (node.kind !== "list") return errors.expected(node, path, "a list");
      const values: T[] = [];
      let whole = true;
      for (const [index, child] of node.items.entries()) {
        const value = item.read(child, `${path}[${index}]`, errors);
        if (value === INVALID) whole = false;
        else values.push(value);
      }
      return whole ? values : INVALID;
    },
  };
}

/** A list, or one item alone. */
export function oneOrMore<T>(item: Schema<T>): Schema<readonly T[]> {
  const list = listOf(item);
  return {
    ...list,
    expects: `${item.expects}, or ${list.expects}`,
    read(node, path, errors) {
      if (node.kind === "list") return list.read(node, path, errors);
      const value = item.read(node, path, errors);
      return value === INVALID ? INVALID : [value];
    },
  };
}

/** A mapping from names of the user's choice to values of one kind. */
export function recordOf<T>(
  expects: string,
  isName: (name: string) => boolean,
  item: Schema<T>,
): Schema<Map<string, T>> {
  return {
    expects: `mapping of ${expects} to ${item.expects}`,
    plain: false,
    read(node, path, errors) {
      if (node.kind !== "map") return errors.expected(node, path, "a mapping");
      const values = new Map<string, T>();
      let whole = true;
      for (const [name, entry] of node.entries) {
        const value = isName(name)
          ? item.read(entry.value, keyPath(path, name), errors)
          : errors.add(entry.value, keyPath(path, name), `expected ${expects}, found the key ${JSON.stringify(name)}`);
        if (value === INVALID) whole = false;
        else values.set(name, value);
      }
      return whole ? values : INVALID;
    },
  };
}

/** A mapping of known keys; an unknown one is an error that names the nearest known. */
export function objectOf<T extends object>(keys: { readonly [K in keyof T]-?: Key<T[K]> }): Schema<T> {
  const known = new Map<string, Key<unknown>>(Object.entries(keys));
  return {
    expects: `mapping of ${[...known.keys()].join(", ")}`,
    keys: known,
    plain: false,
    read(node, path, errors) {
      if (node.kind !== "map") return errors.expected(node, path, "a mapping");
      let whole = refuseUnknown(node, path, known, errors);
      const values: Record<string, unknown> = {};
      for (const [name, key] of known) {
        const entry = node.entries.get(name);
        const child = entry === undefined || isNull(entry.value) ? absent(node, key) : entry.value;
        if (child === undefined) {
          values[name] = undefined;
          if (key.presence !== "required") continue;
          errors.add(node, keyPath(path, name), `expected ${key.schema.expects}, found nothing`);
          whole = false;
          continue;
        }
        const value = key.schema.read(child, keyPath(path, name), errors);
        if (value === INVALID) whole = false;
        else values[name] = value;
      }
      // Every key of T has been read by its own schema.
      return whole ? (values as T) : INVALID;
    },
  };
}

/** A mapping that must hold exactly one of its keys; those named in `besides` do not count. */
export function exactlyOneKey<T>(schema: Schema<T>, besides: readonly string[] = []): Schema<T> {
  const choices = [...(schema.keys?.keys() ?? [])].filter((name) => !besides.includes(name));
  return {
    ...schema,
    read(node, path, errors) {
      if (node.kind !== "map") return schema.read(node, path, errors);
      const given = [...node.entries].filter(([name, { value }]) => choices.includes(name) && !isNull(value));
      if (given.length === 1) return schema.read(node, path, errors);
      // A slip of the pen is named as such: that nothing was found would be no help.
      if (given.length === 0 && schema.keys !== undefined && !refuseUnknown(node, path, schema.keys, errors))
        return INVALID;
      const names = choices.join(", ");
      const what = given.length === 0 ? "none" : given.map(([name]) => name).join(" and ");
      return errors.add(node, path, `expected exactly one of ${names}; found ${what}`);
    },
  };
}

/** A schema whose value is made from another's; `make` may refuse it. */
export function refine<A, B>(
  schema: Schema<A>,
  make: (value: A, refuse: (text: string) => Invalid, node: Node) => B | Invalid,
): Schema<B> {
  return {
    ...schema,
    read(node, path, errors) {
      const value = schema.read(node, path, errors);
      if (value === INVALID) return INVALID;
      return make(value, (text) => errors.add(node, path, text), node);
    },
  };
}

/** A listener, or anything else, that `off` (or `false`) switches off. */
export function orOff<T>(schema: Schema<T>): Schema<T | undefined> {
  return {
    ...schema,
    expects: `${schema.expects}, or off`,
    read(node, path, errors) {
      if (node.kind === "scalar" && (node.value === "off" || node.value === false || node.value === "false")) {
        return undefined;
      }
      return schema.read(node, path, errors);
    },
  };
}

/**
 * A value that is part of the interface, and whose form is checked, but that this release cannot act on: all but `inert`
 * is refused.
 *
 * @param instead what works now
 */
export function notYet<T>(schema: Schema<T>, instead: string, inert?: T): Schema<undefined> {
  const refusing = refine(schema, (value, refuse) =>
    value === inert ? undefined : refuse(`is not supported in this release; ${instead}`),
  );
  return { ...refusing, notYet: instead };
}

function refuseUnknown(node: MapNode, path: string, known: ReadonlyMap<string, unknown>, errors: Errors): boolean {
  let whole = true;
  for (const [name, entry] of node.entries) {
    if (known.has(name)) continue;
    const guess = nearest(name, known.keys());
    const hint = guess === undefined ? `known here: ${[...known.keys()].join(", ")}` : `did you mean ${guess}?`;
    errors.list.push({ file: node.source, line: entry.line, path: keyPath(path, name), text: `unknown key; ${hint}` });
    whole = false;
  }
  return whole;
}

/** `key:` without a value is an absent key. */
function isNull(node: Node): boolean {
  return node.kind === "scalar" && node.value === null;
}

/** The node that an absent key stands for. */
function absent(parent: MapNode, key: Key<unknown>): Node | undefined {
  if (key.byDefault === undefined) return undefined;
  const place = { source: parent.source, line: parent.line };
  if (key.byDefault === "{}") return { kind: "map", entries: new Map(), ...place };
  if (key.byDefault === "[]") return { kind: "list", items: [], ...place };
  return { kind: "scalar", value: key.byDefault, ...place };
}
