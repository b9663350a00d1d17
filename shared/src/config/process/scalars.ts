// Pure. Scalars that several configurations have.
import { splitHostPort } from "../../net/listen-address.ts";
import { scalar, type Schema } from "./schema.ts";
import { parseDuration, parseSize } from "../units.ts";

/** A text of a certain form. */
export const text = (expects: string, accepts: (value: string) => boolean): Schema<string> =>
  scalar(expects, (value) => (accepts(String(value)) ? String(value) : undefined));

/** A duration, in milliseconds. */
export const duration: Schema<number> = scalar("duration such as 250ms, 10s, 5m or 24h", (value) =>
  typeof value === "string" ? parseDuration(value) : undefined,
);

/** A size, in bytes, between two others. */
export function size(least: string, most: string): Schema<number> {
  return scalar(`size from ${least} to ${most}`, (value) => {
    const bytes = (typeof value === "string" ? parseSize(value) : undefined) ?? Number.NaN;
    return bytes >= (parseSize(least) ?? 0) && bytes <= (parseSize(most) ?? 0) ? bytes : undefined;
  });
}

/** A server by name or address. */
export const server: Schema<{ readonly host: string; readonly port: number }> = scalar("host:port", (value) => {
  const parts = typeof value === "string" ? splitHostPort(value) : undefined;
  return parts === undefined || parts.host === "" ? undefined : parts;
});
