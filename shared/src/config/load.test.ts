import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LOAD_LIMITS, loadDocuments, loadOne } from "./load.ts";
import type { Node } from "./tree.ts";

const MIB = 1024 * 1024;

/** A tree without its places. */
function plain(node: Node): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "list") return node.items.map(plain);
  return new Map([...node.entries].map(([name, { value }]) => [name, plain(value)]));
}

function nested(depth: number, inner = ""): string {
  return "[".repeat(depth) + inner + "]".repeat(depth);
}

function load(text: string | Uint8Array): { values: unknown[]; errors: string[] } {
  const values: unknown[] = [];
  const errors: string[] = [];
  for (const loaded of loadDocuments("f", typeof text === "string" ? Buffer.from(text) : text)) {
    if ("error" in loaded) errors.push(`${loaded.error.line}: ${loaded.error.text}`);
    else values.push(plain(loaded.node));
  }
  return { values, errors };
}

describe("what is understood", () => {
  const rows: [string, string, unknown[]][] = [
    ["nothing", "", []],
    ["only comments", "# a\n# b\n", []],
    ["empty documents", "---\n---\n...\n", []],
    [
      "scalars of the core schema",
      "[a, 1, 1.5, 0x10, true, null, ~, off, yes, 2026-01-01, '1']",
      [["a", 1, 1.5, 16, true, null, null, "off", "yes", "2026-01-01", "1"]],
    ],
    ["several documents", "a: 1\n---\nb: 2\n", [new Map([["a", 1]]), new Map([["b", 2]])]],
    [
      "JSON, also with tabs",
      '{\n\t"a": {\n\t\t"b": [1, "x\\u00e9"]\n\t}\n}\n',
      [new Map([["a", new Map([["b", [1, "xé"]]])]])],
    ],
    [
      "keys that are not strings, by their spelling",
      "{80: a, true: b, 0x1f: c}",
      [
        new Map([
          ["80", "a"],
          ["true", "b"],
          ["0x1f", "c"],
        ]),
      ],
    ],
    [
      "a key without a value",
      "a:\nb: {c}",
      [
        new Map<string, unknown>([
          ["a", null],
          ["b", new Map([["c", null]])],
        ]),
      ],
    ],
    [
      "__proto__ as a key like others",
      "__proto__: {polluted: 1}",
      [new Map([["__proto__", new Map([["polluted", 1]])]])],
    ],
    [
      "a merge key as a key like others",
      "a: &x {b: 1}\nc: {<<: *x}",
      [
        new Map<string, unknown>([
          ["a", new Map([["b", 1]])],
          ["c", new Map([["<<", new Map([["b", 1]])]])],
        ]),
      ],
    ],
    [
      "aliases",
      "a: &x [1]\nb: *x",
      [
        new Map([
          ["a", [1]],
          ["b", [1]],
        ]),
      ],
    ],
    [
      "a byte order mark and CRLF",
      "\uFEFFa: 1\r\nb: 2\r\n",
      [
        new Map([
          ["a", 1],
          ["b", 2],
        ]),
      ],
    ],
    ["standard tags", "!!str 5", ["5"]],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => assert.deepEqual(load(text), { values: expected, errors: [] }));
  }

  test("__proto__ pollutes nothing", () => {
    load("__proto__: {polluted: 1}\nconstructor: {prototype: {polluted: 1}}");
    assert.equal("polluted" in {}, false);
  });
});

describe("what is refused, with its line", () => {
  const rows: [string, string | Uint8Array, string][] = [
    ["a duplicate key", "a: 1\nb: 2\na: 3\n", '3: key "a" is there twice, first in line 1'],
    ["a duplicate key of another spelling", '{"a": 1,\n a: 2}', '2: key "a" is there twice, first in line 1'],
    ["an unknown tag", "a: 1\nb: !env PATH\n", "2: Unresolved tag: !env"],
    ["a tag of another schema", "a: !!binary aGk=\n", "1: expected a string, number or boolean"],
    ["a directive", "%YAML 1.1\n---\na: off\n", "1: expected no %YAML or %TAG directive"],
    ["NUL", "a: 1\nb: \0\n", "2: expected text, found control character 0x00"],
    ["an escape character", "a: 1\n\u001b[31m", "2: expected text, found control character 0x1b"],
    ["bytes that are not UTF-8", Uint8Array.from([0x61, 0x3a, 0x20, 0xff]), "1: expected UTF-8"],
    ["an alias without an anchor", "a: *x\n", "1: alias *x has no whole anchor before it"],
    ["an alias inside its own anchor", "a: &x\n  b: *x\n", "2: alias *x has no whole anchor before it"],
    ["a mapping as a key", "? {a: 1}\n: b\n", "1: expected a plain key"],
    ["a null key", "a: 1\n~: 2\n", "2: expected a plain key"],
    [
      "an open bracket",
      "a: 1\nb: [1, 2\n",
      "3: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
    ["bad indentation", "a:\n  b: 1\n c: 2\n", "3: All mapping items must start at the same column"],
    ["a file over its size", new Uint8Array(MIB + 1).fill(0x61), `1: expected at most ${MIB} bytes, found ${MIB + 1}`],
    ["a file of too many lines", "\n".repeat(100_000), "100001: expected at most 100000 lines"],
    ["a long key that is there twice", `${"a".repeat(900)}: 1\n${"a".repeat(900)}: 2\n`, `2: key "${"a".repeat(506)}…`],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { values, errors } = load(text);
      assert.equal(values.length, 0);
      assert.ok(errors[0]?.startsWith(expected), JSON.stringify(errors));
    });
  }

  test("the documents around a broken one are still read", () => {
    const { values, errors } = load("a: 1\n---\nb: !x 1\n---\nc: 1\n---\nd: 1\nd: 2\n");
    assert.deepEqual(values, [new Map([["a", 1]]), new Map([["c", 1]])]);
    assert.deepEqual(errors, ["3: Unresolved tag: !x", '8: key "d" is there twice, first in line 7']);
  });
});

describe("hostile input costs what its size allows", () => {
  const rows: [string, string, RegExp][] = [
    ["depth of brackets", "[".repeat(100_000), /at most 64 levels of nesting/],
    ["depth of braces", "{a: ".repeat(100_000), /at most 64 levels of nesting/],
    ["depth of dashes on one line", "- ".repeat(100_000), /at most 64 levels of nesting/],
    ["depth of question marks", "? ".repeat(100_000), /at most 64 levels of nesting/],
    [
      "depth of indentation",
      Array.from({ length: 1000 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"),
      /at most 64 levels/,
    ],
    ["tokens", `[${"a,".repeat(100_000)}]`, /at most 50000 tokens in a document/],
    ["many documents", "--- a\n".repeat(10_001), /at most 10000 documents in a file/],
    ["many aliases", `a: &x 1\nb: [${"*x,".repeat(101)}]`, /at most 100 aliases in a file/],
    ["aliases over many documents", `--- [&x 1${",*x".repeat(60)}]\n`.repeat(2), /at most 100 aliases in a file/],
    ["errors", "a: &x &x 1\n".repeat(5000), /./],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { errors } = load(text);
      assert.match(errors.at(-1) ?? "", expected);
      assert.ok(errors.length <= LOAD_LIMITS.errorsPerDocument);
    });
  }

  test("tokens are counted in each document", () => {
    const document = `--- [${"a,".repeat(15_000)}]\n`;
    assert.deepEqual(load(document.repeat(3)).errors, []);
  });

  test("an alias bomb is counted, not built", () => {
    const levels = Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`);
    const { values, errors } = load(`a0: &a0 [x,x,x,x,x,x,x,x,x]\n${levels.join("\n")}\n`);
    assert.deepEqual(values, []);
    assert.match(errors[0] ?? "", /^6: expected at most 100000 values in a document, aliases counted out/);
  });

  test("aliases do not add up to a depth that the text does not have", () => {
    const { errors } = load(`a: &a ${nested(30)}\nb: &b ${nested(30, "*a")}\nc: ${nested(30, "*b")}\n`);
    assert.deepEqual(errors, ["3: expected at most 64 levels of nesting, aliases counted out"]);
  });

  test("64 levels are read, 65 are not", () => {
    assert.deepEqual(load(nested(64)).errors, []);
    assert.deepEqual(load(nested(65)).errors, ["1: expected at most 64 levels of nesting"]);
  });

  test("the caller may pause between documents", () => {
    const steps = loadDocuments("f", Buffer.from("a: 1\n---\nb: [\n"));
    assert.ok("node" in (steps.next().value ?? {}));
    assert.ok("error" in (steps.next().value ?? {}));
  });
});

test("loadOne takes one document", () => {
  assert.equal(loadOne("f", Buffer.from("# nothing\n")), undefined);
  assert.deepEqual(loadOne("f", Buffer.from("a\n---\nb\n")), [
    { file: "f", line: 3, path: "", text: "expected one document, found another" },
  ]);
});

test("nodes know their lines", () => {
  const root = loadOne("mesh/a.yaml", Buffer.from("# c\na:\n  - b: 1\n    c: |\n      x\n  - {d: 2}\n"));
  assert.ok(root !== undefined && "kind" in root && root.kind === "map");
  const a = root.entries.get("a");
  assert.equal(a?.line, 2);
  assert.ok(a?.value.kind === "list");
  const [first, second] = a.value.items;
  assert.ok(first?.kind === "map" && second?.kind === "map");
  assert.equal(first.entries.get("b")?.value.line, 3);
  assert.equal(first.entries.get("c")?.line, 4);
  assert.equal(second.entries.get("d")?.value.line, 6);
  assert.equal(second.source, "mesh/a.yaml");
});
