// Pure. The grammars of Kubernetes names: what may stand in `metadata`.

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const QUALIFIED = /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;

/** DNS label (RFC 1123 section 2.1, lower case): namespaces and Services. */
export function isDnsLabel(text: string): boolean {
  return LABEL.test(text);
}

/** DNS name of lower-case labels, at most 253 characters: all other resources, and service accounts. */
export function isDnsName(text: string): boolean {
  return text.length <= 253 && text.split(".").every((label) => LABEL.test(label));
}

/** Key of a label or annotation: `name` or `prefix/name`. */
export function isLabelKey(text: string): boolean {
  const slash = text.indexOf("/");
  return slash < 0 ? QUALIFIED.test(text) : isDnsName(text.slice(0, slash)) && QUALIFIED.test(text.slice(slash + 1));
}

/** Value of a label. */
export function isLabelValue(text: string): boolean {
  return text === "" || QUALIFIED.test(text);
}

/** Name of a port (IANA service name, RFC 6335 section 5.1): it has a letter, so that it is no number. */
export function isPortName(text: string): boolean {
  return text.length <= 15 && LABEL.test(text) && /[a-z]/.test(text) && !text.includes("--");
}
