// Pure. Label values as the text exposition has them.

/** Label names and values as the exposition has them between braces. Long values are cut. */
export function labelText(names: readonly string[], values: readonly string[]): string {
  let text = "";
  for (let index = 0; index < names.length; index += 1) {
    text += `${index === 0 ? "" : ","}${names[index]}="${escapeLabel(values[index] ?? "")}"`;
  }
  return text;
}

/** Characters of a label value that are kept; a SPIFFE ID of a workload is shorter. */
const MAX_LABEL_CHARACTERS = 512;
const NEEDS_ESCAPE = /["\\\n]/;

function escapeLabel(value: string): string {
  const kept = value.length > MAX_LABEL_CHARACTERS ? value.slice(0, MAX_LABEL_CHARACTERS) : value;
  if (!NEEDS_ESCAPE.test(kept)) return kept.toWellFormed();
  return kept.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n").toWellFormed();
}
