// Pure. How far OPTIONS may go (RFC 9110 section 7.6.2): `Max-Forwards` is counted down at each hop, and the last one answers itself.
import { FieldNames, fieldLine, fieldValues, withoutFields } from "./filter/field-lines.ts";
import type { RequestDraft } from "./http/message.ts";
import type { LocalAnswer } from "./local-answer.ts";

const NAME = "max-forwards";
const NAMES = new FieldNames([NAME]);

/** What the last hop says. */
export const LAST_HOP_ANSWER: LocalAnswer = {
  status: 200,
  fields: "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n",
  body: "",
  failure: undefined,
};

/** Counts this hop in an OPTIONS request. `false`: it must not go on. A value that is no number says nothing. */
export function countHop(request: RequestDraft): boolean {
  const [value = "", ...others] = fieldValues(request.fields, NAME);
  if (others.length > 0 || !/^\d{1,9}$/.test(value)) return true;
  const left = Number(value);
  if (left === 0) return false;
  request.fields = withoutFields(request.fields, NAMES) + fieldLine(NAME, String(left - 1));
  return true;
}
