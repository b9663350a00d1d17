// Pure. The query parameters of a request that routes ask for.

/**
 * Reads the parameters that `slots` names from a query into `values`; of one that comes twice the first counts, and one
 * without `=` is empty. Escapes and `+` are decoded as forms are (WHATWG URL, application/x-www-form-urlencoded); what is no
 * UTF-8 behind its escapes stays as it was sent.
 *
 * @param query with its `?`, or empty
 * @param values as many as `slots` has, all `undefined`
 */
export function readQuery(query: string, slots: ReadonlyMap<string, number>, values: (string | undefined)[]): void {
  let start = 1;
  while (start < query.length) {
    const ampersand = query.indexOf("&", start);
    const end = ampersand < 0 ? query.length : ampersand;
    if (end > start) {
      const equals = query.indexOf("=", start);
      const nameEnd = equals < 0 || equals > end ? end : equals;
      const slot = slots.get(decode(query.slice(start, nameEnd)));
      if (slot !== undefined && values[slot] === undefined) {
        values[slot] = nameEnd === end ? "" : decode(query.slice(nameEnd + 1, end));
      }
    }
    start = end + 1;
  }
}

function decode(text: string): string {
  const spaced = text.includes("+") ? text.replaceAll("+", " ") : text;
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    return text;
  }
}
