// Types. What `client-process.ts` is asked to do, and what it tells, each one line of JSON.

/** Requests from within a pod. */
export interface Job {
  readonly id: number;
  readonly kind: "http1" | "http2" | "grpc" | "websocket" | "tcp";
  readonly host: string;
  readonly port: number;
  /** `Host`, or `:authority`. */
  readonly authority: string;
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  /** How many of the same, in turns over a few connections that stay. */
  readonly count: number;
}

/** What came of one request. */
export interface Answer {
  /** 0 where none came. */
  readonly status: number;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly text: string;
  /** Status of a call; -1 where none came. */
  readonly grpc: number;
  /** Why none came. */
  readonly error: string | undefined;
}

/** What came of a job, in the order of its requests. */
export interface Done {
  readonly id: number;
  readonly answers: readonly Answer[];
}
