// Machine. Whether this process may get traffic, and the port that says so.
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { listenHttp, plainReply } from "./http-endpoint.ts";
import type { HttpEndpoint, HttpListen, HttpReply } from "./http-endpoint.ts";

/** Readiness of a process, made of named parts that must all be ready. */
export class Readiness {
  /** What each part that is not ready waits for. */
  readonly #missing = new Map<string, string>();
  readonly #dead: () => string | undefined;
  #note: () => string | undefined = () => undefined;
  #draining = false;

  /**
   * Names the parts; none is ready at first.
   *
   * @param dead says why only a restart can help, `undefined` while that is not so
   */
  constructor(parts: readonly string[], dead: () => string | undefined = () => undefined) {
    this.#dead = dead;
    for (const part of parts) this.#missing.set(part, "not there yet");
  }

  /** A part has become ready, or no longer is; `reason` says in one line what it waits for. */
  set(part: string, ok: boolean, reason = "not there yet"): void {
    if (ok) this.#missing.delete(part);
    else this.#missing.set(part, reason);
  }

  /** What stands beside `ready`, when there is something that the operator should know. */
  annotate(note: () => string | undefined): void {
    this.#note = note;
  }

  /** From now on not ready, for good. */
  draining(): void {
    this.#draining = true;
  }

  get ready(): boolean {
    return !this.#draining && this.#missing.size === 0;
  }

  /** Why this process should be restarted; `undefined` while it lives. */
  get dead(): string | undefined {
    return this.#dead();
  }

  /** `ready`, or one line that says what is missing. */
  get text(): string {
    if (this.#draining) return "draining";
    if (this.#missing.size === 0) return ["ready", this.#note()].filter((part) => part !== undefined).join("; ");
    return [...this.#missing].map(([part, reason]) => `${part}: ${reason.replaceAll(/\s+/g, " ")}`).join("; ");
  }
}

/** Serves `/healthz/ready` and `/healthz/live`, each 200, or 503 with one line. Fails with PORT_UNAVAILABLE. */
export function serveReadiness(options: {
  readonly listen: HttpListen;
  readonly readiness: Readiness;
  readonly clock: Clock;
  readonly onError: (failure: Failure) => void;
}): Promise<HttpEndpoint | Failure> {
  const { readiness, listen, clock, onError } = options;
  return listenHttp({ listen, clock, onError, handle: ({ method, path }) => probe(readiness, method, path) });
}

function probe(readiness: Readiness, method: string, path: string): HttpReply {
  if (method !== "GET" && method !== "HEAD") return { ...plainReply(405, "only GET"), headers: { allow: "GET, HEAD" } };
  if (path === "/healthz/live") {
    const { dead } = readiness;
    return dead === undefined ? plainReply(200, "live") : plainReply(503, dead);
  }
  if (path !== "/healthz/ready") return plainReply(404, "/healthz/ready or /healthz/live");
  return plainReply(readiness.ready ? 200 : 503, readiness.text);
}
