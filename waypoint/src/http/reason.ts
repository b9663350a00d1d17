// Pure. Reason phrases for answers that come without one: our own, and those of HTTP/2.

const { STATUS_CODES } = process.getBuiltinModule("node:http");

/** The registered phrase of a status, or one that says nothing for the others. */
export function reasonOf(status: number): string {
  return STATUS_CODES[status] ?? PHRASES.get(status) ?? "Unknown";
}

/** Statuses of the table of failures that are not registered. */
const PHRASES: ReadonlyMap<number, string> = new Map([[499, "Client Closed Request"]]);
