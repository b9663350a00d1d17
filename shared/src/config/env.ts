// Root. The one place that reads the environment. Everything else takes what it needs as a value.

/** The environment of the process, as it is now. */
export function environment(): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) variables.set(name, value);
  return variables;
}
