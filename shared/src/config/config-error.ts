// Pure. One error of a configuration, and how it is written.

/** One error of a configuration. */
export interface ConfigError {
  /** The file, or `CULVERT_…` when the value came from the environment. */
  readonly file: string;
  /** 1-based; 0 when there is no line to name. */
  readonly line: number;
  /** Path of the key, such as `outbound.listeners[0].listen`; empty for the document. */
  readonly path: string;
  /** What was expected and what was found. */
  readonly text: string;
}

/** `file:line: path: text`, without the parts that are not known. */
export function formatConfigError(error: ConfigError): string {
  const place = error.line > 0 ? `${error.file}:${error.line}` : error.file;
  return error.path === "" ? `${place}: ${error.text}` : `${place}: ${error.path}: ${error.text}`;
}
