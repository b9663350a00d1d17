// Machine. What the echo app answers: a description of the request, or what the request's own query asks for, as
// `?delay=1s&codes=500&headers=name:value,other:value` (which Istio's echo server knows too), and `?succeedAfter=2&id=x` with
// `failWith=close` or a status: so many requests of that id fail before one succeeds.
import type { Saw } from "./saw.ts";

/** An answer. */
export interface EchoAnswer {
  readonly status: number;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  readonly delayMs: number;
}

/** Failures so far, by id. */
const failures = new Map<string, number>();

/** What to answer; `close` is the end of the connection in its place. */
export function answerTo(saw: Saw): EchoAnswer | "close" {
  const query = new URLSearchParams((saw.path ?? "").split("?").slice(1).join("?"));
  const delay = /^(\d+)(ms|s)$/.exec(query.get("delay") ?? "");
  const delayMs = delay === null ? 0 : Number(delay[1]) * (delay[2] === "s" ? 1_000 : 1);
  const headers = (query.get("headers") ?? "").split(",").filter(Boolean);
  const fields = headers.map((text) => {
    const [name = "", value = ""] = text.split(":");
    return [name, value] as const;
  });
  const body = JSON.stringify(saw);
  const failing = failureOf(query);
  if (failing === "close") return "close";
  const delayed = failing === undefined && query.has("succeedAfter") && query.get("delayAll") === null ? 0 : delayMs;
  if (failing !== undefined) return { status: failing, fields, body, delayMs };
  return { status: Number(query.get("codes") ?? 200), fields, body, delayMs: delayed };
}

/** How a request fails that is to succeed later only. A delayed one that must time out fails with 200 and its delay. */
function failureOf(query: URLSearchParams): number | "close" | undefined {
  const after = query.get("succeedAfter");
  if (after === null) return undefined;
  const id = query.get("id") ?? "";
  const failed = failures.get(id) ?? 0;
  if (failed >= Number(after)) return undefined;
  failures.set(id, failed + 1);
  const how = query.get("failWith") ?? "500";
  return how === "close" ? "close" : Number(how);
}
