// Machine. The audit: one line for each certificate that is issued and each call that is refused, with who, by what proof, and why.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { FloodGate, HELD } from "@culvert/shared/observe/flood-gate.ts";
import { jsonText, MAX_TEXT_BYTES } from "@culvert/shared/observe/json-text.ts";
import { TimeText } from "@culvert/shared/observe/time-text.ts";
import type { Proof } from "../proof/proof.ts";

/** The longest SPIFFE ID; an audit that cuts it would name somebody else. */
const MAX_ID_BYTES = 2_048;
/** Lines of refusals of one code per second. Every certificate has its line. */
const REFUSALS_PER_SECOND = 100;

/** What was asked for, and by whom as far as it is known. */
export interface AuditedCall {
  readonly method: "CreateCertificate" | "WatchTrust";
  /** `ip:port`. */
  readonly remote: string;
  readonly proof: Proof | undefined;
  readonly durationMs: number;
}

export interface AuditLogOptions {
  /** Takes one line without newline and never blocks: `LineWriter.line`. */
  readonly write: (line: string) => void;
  readonly clock: Clock;
}

/** See the head of the file. */
export class AuditLog {
  readonly #write: (line: string) => void;
  readonly #clock: Clock;
  readonly #gate: FloodGate;
  readonly #time = new TimeText();

  constructor(options: AuditLogOptions) {
    this.#write = options.write;
    this.#clock = options.clock;
    this.#gate = new FloodGate(options.clock, REFUSALS_PER_SECOND);
  }

  /** Lines of refusals held back because the same code came too often. */
  get suppressed(): number {
    return this.#gate.suppressed;
  }

  /** A certificate is handed out. `notAfter`: milliseconds since the epoch. */
  issued(call: AuditedCall, { serial, notAfter }: { readonly serial: string; readonly notAfter: number }): void {
    const end = new Date(notAfter).toISOString();
    this.#write(`${this.#head("info", "issued", call)},"serial":${jsonText(serial)},"not_after":"${end}"}`);
  }

  /** A call is refused. */
  refused(call: AuditedCall, failure: Failure): void {
    const held = this.#gate.admit(failure.code);
    if (held === HELD) return;
    const reason = `,"code":"${failure.code}","error":${jsonText(failure.toString(), MAX_TEXT_BYTES)}`;
    this.#write(`${this.#head("warn", "refused", call)}${reason}${held > 0 ? `,"suppressed":${held}` : ""}}`);
  }

  #head(level: string, outcome: string, { method, remote, proof, durationMs }: AuditedCall): string {
    const who =
      proof === undefined
        ? ""
        : `,"proof":"${proof.kind}","proof_by":${jsonText(proof.by)},"identity":${jsonText(proof.id, MAX_ID_BYTES)}`;
    return (
      `{"time":"${this.#time.of(this.#clock.now())}","level":"${level}","target":"audit","outcome":"${outcome}"` +
      `,"method":"${method}","remote":${jsonText(remote)}${who},"duration_ms":${Math.round(durationMs)}`
    );
  }
}
