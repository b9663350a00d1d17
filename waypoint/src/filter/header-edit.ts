// Pure. What the header filters of a rule do to the fields of a message, compiled.
import type { HeaderEdit } from "@culvert/shared/config/http-route.ts";
import { routeFieldProblem, routeValueProblem } from "@culvert/shared/config/route-fields.ts";
import { fieldLine, FieldNames, withoutFields } from "./field-lines.ts";

/** One compiled filter: lines that go out, then lines that come behind the others. */
export class FieldEdit {
  readonly #removed: FieldNames;
  readonly #appended: string;

  /** The edit has been checked: see `editProblem`. */
  constructor(edit: HeaderEdit) {
    const { set, add, remove } = edit;
    // Set, add, remove: what is removed is not there even if the same filter has added it.
    const gone = new FieldNames(remove);
    const lines = [...set, ...add].filter(({ name }) => !gone.has(name, 0, name.length));
    this.#removed = new FieldNames([...set.map(({ name }) => name), ...remove]);
    this.#appended = lines.map(({ name, value }) => fieldLine(name, value)).join("");
  }

  /** The field lines after this filter. */
  apply(fields: string): string {
    return (this.#removed.size === 0 ? fields : withoutFields(fields, this.#removed)) + this.#appended;
  }
}

/** Why an edit must not be served; `undefined` when it may. */
export function editProblem({ set, add, remove }: HeaderEdit): string | undefined {
  for (const { name, value } of [...set, ...add]) {
    const problem = routeFieldProblem(name) ?? routeValueProblem(value);
    if (problem !== undefined) return `${name.slice(0, 80)}: ${problem}`;
  }
  for (const name of remove) {
    const problem = routeFieldProblem(name);
    if (problem !== undefined) return `${name.slice(0, 80)}: ${problem}`;
  }
  return undefined;
}
