// Machine. Ids of connections, for logs and the admin port only: they are cheap and can be guessed, so nothing may rest
// on them, and strangers are given random ids instead.
import hyperid from "hyperid";

/** A maker of ids that are unique in this process and, but for chance, among all. */
export function connectionIds(): () => string {
  return hyperid({ urlSafe: true, fixedLength: true });
}
