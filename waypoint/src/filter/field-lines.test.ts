import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { fieldLine, FieldNames, fieldValues, withoutFields } from "./field-lines.ts";

const FIELDS = "Host-Like: a\r\nX-A: 1\r\nx-b: 2\r\nx-a: 3\r\nx-ab: 4\r\n";

test("all lines of a name go, in any case, and no others", () => {
  assert.equal(withoutFields(FIELDS, new FieldNames(["X-a"])), "Host-Like: a\r\nx-b: 2\r\nx-ab: 4\r\n");
  assert.equal(withoutFields(FIELDS, new FieldNames(["x-a", "x-ab", "x-b", "host-like"])), "");
  assert.equal(withoutFields(FIELDS, new FieldNames(["x-c"])), FIELDS);
  assert.equal(withoutFields("", new FieldNames(["x-c"])), "");
});

test("a value that looks like a name is none", () => {
  const fields = "x-b: x-a: 1\r\nx-c:x-a:\r\n";
  assert.equal(withoutFields(fields, new FieldNames(["x-a"])), fields);
});

test("what is left is what was there, line for line", () => {
  const name = fc.constantFrom("a", "A", "b", "cc", "Cc");
  const line = fc.tuple(name, fc.constantFrom("", "1", "a: 1")).map(([n, v]) => `${n}: ${v}\r\n`);
  fc.assert(
    fc.property(fc.array(line), fc.array(name), (lines, names) => {
      const gone = new Set(names.map((each) => each.toLowerCase()));
      const kept = lines.filter((each) => !gone.has((each.split(":")[0] ?? "").toLowerCase()));
      assert.equal(withoutFields(lines.join(""), new FieldNames(names)), kept.join(""));
    }),
  );
});

test("values of a name come in their order, without the whitespace around them", () => {
  assert.deepEqual(fieldValues("Set-Cookie: a=1\r\nx: 2\r\nset-cookie:\tb=2 \r\n", "set-cookie"), ["a=1", "b=2"]);
  assert.deepEqual(fieldValues("", "x"), []);
});

test("a line carries what is not ASCII as UTF-8", () => {
  assert.equal(fieldLine("x-a", "  ü "), "x-a: \xc3\xbc\r\n");
});
