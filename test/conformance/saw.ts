// Pure. What a backend tells of a request that reached it: our own echo app in JSON, Istio's echo server in lines of `Name=value`.

/** A request as a backend saw it. */
export interface Saw {
  readonly pod: string;
  /** Not told for gRPC by Istio's server, as are `path` and `http`. */
  readonly method?: string | undefined;
  readonly path?: string | undefined;
  readonly host: string;
  /** `HTTP/1.1`, `HTTP/2.0`. */
  readonly http?: string | undefined;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body?: string;
  readonly trailers?: string;
}

/** Reads what came back; `undefined` where no echo answered. */
export function readSaw(text: string): Saw | undefined {
  if (text.startsWith("{")) return JSON.parse(text) as Saw;
  const lines = text.split("\n").map((line): readonly [string, string] => {
    const [name = "", ...value] = line.split("=");
    return [name, value.join("=")];
  });
  const first = (wanted: string): string | undefined => lines.find(([name]) => name === wanted)?.[1];
  const pod = first("Hostname");
  if (pod === undefined) return undefined;
  const fields = lines
    .filter(([name]) => name === "RequestHeader")
    .map(([, value]): readonly [string, string] => [
      value.slice(0, value.indexOf(":", 1)),
      value.slice(value.indexOf(":", 1) + 1),
    ]);
  const http = first("Proto");
  return {
    pod,
    host: first("Host") ?? "",
    method: first("Method"),
    path: first("URL"),
    http: http === "GRPC" ? undefined : http,
    fields,
  };
}

/** All values of a header that a backend saw, joined as one; `undefined` without any. */
export function joined(fields: Saw["fields"], wanted: string): string | undefined {
  const values = fields.filter(([name]) => name.toLowerCase() === wanted.toLowerCase()).map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(",");
}
