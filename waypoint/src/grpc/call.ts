// Machine. One gRPC call: what its request says of it, its deadline, and the status that it has come to.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { fieldLine } from "../filter/field-lines.ts";
import { NO_BODY, type BodyKind } from "../http/body-kind.ts";
import type { RequestMessage, ResponseHead } from "../http/message.ts";
import type { LocalAnswer } from "../local-answer.ts";
import { grpcAnswer } from "./answer.ts";
import { contentTypeIn, type GrpcContentType } from "./content-type.ts";
import { grpcStatusIn, httpStatusOf } from "./status.ts";
import { formatGrpcTimeout, parseGrpcTimeout } from "./timeout.ts";
import { WebTranslation } from "./web/translation.ts";

const TIMEOUT_LINE = /(?<=^|\n)grpc-timeout:[^\n]*\n/gi;

/** A later deadline than the system's timers can wait for is as good as none. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Timers count in milliseconds. */
const TIMER_MS = 1;

/** See the head of the file. */
export class GrpcCall {
  /** What the client allows for the whole call, milliseconds; `undefined`: without bound. */
  readonly timeoutMs: number | undefined;
  /** The client speaks gRPC-Web and the application does not. */
  readonly web: WebTranslation | undefined;
  /** The `grpc-status` that the client got; `undefined` as long as none came. */
  status: number | undefined = undefined;
  readonly #type: GrpcContentType;
  #deadlineAt = Number.POSITIVE_INFINITY;

  /**
   * @param timeout the value of `grpc-timeout`
   * @param isTranslated the application takes gRPC only
   */
  constructor(type: GrpcContentType, timeout: string | undefined, isTranslated: boolean) {
    const ms = timeout === undefined ? undefined : parseGrpcTimeout(timeout);
    this.#type = type;
    this.timeoutMs = ms !== undefined && ms <= MAX_TIMEOUT_MS ? ms : undefined;
    this.web = isTranslated && type.form !== "grpc" ? new WebTranslation(type) : undefined;
  }

  /**
   * How long the call may take, beside what its route says; 0: without bound.
   *
   * @param routeMs 0: without bound
   * @param startedAt monotonic milliseconds
   */
  bound(routeMs: number, startedAt: number): number {
    if (this.timeoutMs === undefined) return routeMs;
    // A client that allows no time at all still waits for an answer, which a bound of 0 would not give.
    const asked = Math.max(this.timeoutMs, 1e-3);
    const ms = routeMs > 0 ? Math.min(routeMs, asked) : asked;
    this.#deadlineAt = startedAt + ms;
    return ms;
  }

  /**
   * Why a call has failed. An application breaks off what is past its deadline too, and may do so before our own timer has: then the
   * deadline is the reason, and not the application.
   */
  reason(failure: Failure, now: number): Failure {
    if (failure.traits.who !== "upstream" || now < this.#deadlineAt - TIMER_MS) return failure;
    return fail("UPSTREAM_TIMEOUT", failure.detail);
  }

  /** The request as it is sent at `now`, with what is then left of the time. */
  within(message: RequestMessage, now: number): RequestMessage {
    if (this.timeoutMs === undefined) return message;
    const left = formatGrpcTimeout(Math.max(this.#deadlineAt - now, 0));
    return { ...message, fields: message.fields.replaceAll(TIMEOUT_LINE, "") + fieldLine("grpc-timeout", left) };
  }

  /** Our own answer as this client understands it. */
  answer(answer: LocalAnswer): LocalAnswer {
    const { form, encoding } = this.#type;
    const answered = grpcAnswer(answer, contentTypeIn(form, encoding));
    this.status = grpcStatusIn(answered.fields);
    return answered;
  }

  /** The response has begun; without a body its head tells the status. */
  begun(fields: string, body: BodyKind): void {
    if (body === NO_BODY) this.status = grpcStatusIn(fields);
  }

  /** The status in HTTP of a response that is all head; `undefined` when it is not, or tells of success. */
  httpStatus(head: ResponseHead): number | undefined {
    const status = head.body === NO_BODY ? grpcStatusIn(head.keptFields()) : undefined;
    return status === undefined || status === 0 ? undefined : httpStatusOf(status);
  }

  /** The response is whole. What does not tell a status has none: none is made up. */
  ended(trailers: string): void {
    this.status = grpcStatusIn(trailers) ?? this.status;
  }
}
