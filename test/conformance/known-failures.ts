// Pure. The conformance cases that do not pass, each with the reason. A test holds the table equal to what happens: a case that begins to
// pass must leave it.

/** Case → why it fails. */
export const KNOWN_FAILURES: Readonly<Record<string, string>> = {};
