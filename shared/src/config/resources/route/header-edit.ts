// Pure. What RequestHeaderModifier and ResponseHeaderModifier say: fields to set, to add and to remove.
import type { HeaderEdit, HeaderField } from "../../http-route.ts";
import { routeFieldProblem, routeValueProblem } from "../../route-fields.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import { atMost, ROUTE_LIMITS } from "./bounds.ts";

/** Reads `set`, `add` and `remove`; one field must not be in two places (Gateway API, HTTPHeaderFilter). */
export function parseHeaderEdit(fields: Fields, report: Report): HeaderEdit {
  const known = new Set<string>();
  const edit = {
    set: parseHeaderFields(fields, "set", ROUTE_LIMITS.headerEdits, report),
    add: parseHeaderFields(fields, "add", ROUTE_LIMITS.headerEdits, report),
    remove: [...parseNames(fields, report)],
  };
  fields.end();
  for (const name of [...edit.set, ...edit.add].map((field) => field.name).concat(edit.remove)) {
    if (known.has(name)) report.malformed(fields.node, fields.path, `${name} is there twice`);
    known.add(name);
  }
  return edit;
}

/** A list of names with values, as fields of a message; names in lower case. */
export function parseHeaderFields(owner: Fields, list: string, most: number, report: Report): HeaderField[] {
  atMost(owner, list, most, report);
  const headers: HeaderField[] = [];
  for (const { fields } of owner.each(list, () => report)) {
    const name = fields.string("name", "a header name that may be edited", isEditable);
    const value = fields.string("value", "a header value", isFieldValue);
    fields.end();
    if (name !== undefined && value !== undefined) headers.push({ name: name.toLowerCase(), value });
    else report.malformed(fields.node, fields.path, "expected a name and a value");
  }
  return headers;
}

function* parseNames(owner: Fields, report: Report): Generator<string> {
  atMost(owner, "remove", ROUTE_LIMITS.headerEdits, report);
  for (const { node, path } of owner.list("remove") ?? []) {
    const name = node.kind === "scalar" && typeof node.value === "string" ? node.value : "";
    if (isEditable(name)) yield name.toLowerCase();
    else report.expected(node, path, "a header name that may be edited");
  }
}

function isEditable(name: string): boolean {
  return routeFieldProblem(name) === undefined;
}

/** Visible characters with spaces between them (RFC 9110 section 5.5), which nobody can take for the end of a line. */
function isFieldValue(value: string): boolean {
  return routeValueProblem(value) === undefined && value !== "" && value.trim() === value;
}
