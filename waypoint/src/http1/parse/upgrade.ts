// Pure. The `Upgrade` field (RFC 9110 section 7.8): protocols that the sender wants to go on with, the most wanted first.

/** More is no honest offer. */
const MAX_LENGTH = 256;

/**
 * The protocol to switch to: the first of `value`, a list, that is in `allowed` (lower case). `undefined`: none is wanted that a
 * client could not do without, so it is served as if it had not asked; `false`: it asks for what is not let through.
 */
export function chosenProtocol(value: string, allowed: ReadonlySet<string>): string | false | undefined {
  if (value.length > MAX_LENGTH) return false;
  const offered = value
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const chosen = offered.find((name) => allowed.has(name));
  if (chosen !== undefined) return chosen;
  // A client that offers h2c is served as well by HTTP/1.1, and the upgrade is a known way around a proxy.
  return offered.every((name) => name === "h2c") ? undefined : false;
}
