import assert from "node:assert/strict";
import { test } from "node:test";
import type { HeaderEdit } from "@culvert/shared/config/http-route.ts";
import { fieldValues } from "./field-lines.ts";
import { editProblem, FieldEdit } from "./header-edit.ts";

type Values = Readonly<Record<string, string>>;

function edit(parts: { set?: Values; add?: Values; remove?: string[] }): HeaderEdit {
  return { set: listed(parts.set), add: listed(parts.add), remove: parts.remove ?? [] };
}

function listed(values: Values = {}): { name: string; value: string }[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

function joined(fields: string, name: string): string {
  return fieldValues(fields, name).join(",");
}

test("set overwrites all lines of the name and leaves the others", () => {
  const set = new FieldEdit(edit({ set: { "x-header-set": "set-overwrites-values" } }));
  for (const before of ["", "X-Header-Set: some-other-value\r\n", "x-header-set: a\r\nX-HEADER-SET: b\r\n"]) {
    const after = set.apply(`${before}some-other-header: val\r\n`);
    assert.equal(joined(after, "x-header-set"), "set-overwrites-values");
    assert.equal(joined(after, "some-other-header"), "val");
  }
});

test("add comes behind what is there", () => {
  const add = new FieldEdit(edit({ add: { "x-header-add": "add-appends-values" } }));
  assert.equal(joined(add.apply(""), "x-header-add"), "add-appends-values");
  assert.equal(
    joined(add.apply("X-Header-Add: some-other-value\r\n"), "x-header-add"),
    "some-other-value,add-appends-values",
  );
});

test("remove takes all lines, and is the last to act", () => {
  const remove = new FieldEdit(edit({ remove: ["x-header-remove"], add: { "x-header-remove": "b" } }));
  assert.equal(remove.apply("X-Header-Remove: a\r\nx: 1\r\nx-header-remove: c\r\n"), "x: 1\r\n");
});

test("several of each at once", () => {
  const all = new FieldEdit(
    edit({
      set: { "x-header-set-1": "header-set-1", "x-header-set-2": "header-set-2" },
      add: { "x-header-add-1": "header-add-1", "x-header-add-2": "header-add-2", "x-header-add-3": "header-add-3" },
      remove: ["x-header-remove-1", "x-header-remove-2"],
    }),
  );
  const after = all.apply(
    "X-Header-Set-2: set-val-2\r\nX-Header-Add-2: add-val-2\r\nX-Header-Remove-2: r\r\nAnother-Header: another\r\n",
  );
  assert.equal(joined(after, "x-header-set-1"), "header-set-1");
  assert.equal(joined(after, "x-header-set-2"), "header-set-2");
  assert.equal(joined(after, "x-header-add-1"), "header-add-1");
  assert.equal(joined(after, "x-header-add-2"), "add-val-2,header-add-2");
  assert.equal(joined(after, "x-header-add-3"), "header-add-3");
  assert.equal(joined(after, "x-header-remove-2"), "");
  assert.equal(joined(after, "another-header"), "another");
});

test("what a route may not touch is named", () => {
  assert.equal(editProblem(edit({ set: { a: "1" }, add: { b: "2" }, remove: ["c"] })), undefined);
  assert.match(editProblem(edit({ set: { "content-length": "1" } })) ?? "", /content-length/);
  assert.match(editProblem(edit({ add: { a: "1\r\nb: 2" } })) ?? "", /^a: .*control/);
  assert.match(editProblem(edit({ remove: ["x-forwarded-client-cert"] })) ?? "", /the proxy's own/);
});
