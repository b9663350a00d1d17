// Pure. Faults that a route injects on purpose (HTTPFilter): a wait, or a failure in place of an answer, for a share of its requests.
import type { Fault } from "@culvert/shared/config/http-route.ts";
import { fail } from "@culvert/shared/failure/failure.ts";
import { statusOfHttp } from "@culvert/shared/grpc/status.ts";
import { hasNoBody, type LocalAnswer } from "../local-answer.ts";

/** What befalls one request. */
export interface DrawnFault {
  /** 0: no wait. */
  readonly delayMs: number;
  readonly abort: Abort | undefined;
}

type Abort = NonNullable<Fault["abort"]>;

const HUNDRED = 100;

/**
 * Draws what befalls one request. Waits of several filters add up, of several aborts the first counts.
 *
 * @param random gives numbers of at least 0 and less than 1
 */
export function drawFault(faults: readonly Fault[], random: () => number): DrawnFault {
  let delayMs = 0;
  let abort: Abort | undefined;
  for (const fault of faults) {
    if (fault.delay !== undefined && random() * HUNDRED < fault.delay.percent) delayMs += fault.delay.ms;
    if (abort === undefined && fault.abort !== undefined && random() * HUNDRED < fault.abort.percent)
      abort = fault.abort;
  }
  return { delayMs, abort };
}

/**
 * The answer to a request that is aborted. A gRPC call is answered by trailers alone, with the status of the fault or what
 * its HTTP status means to gRPC.
 *
 * @param where route and rule, for the log
 */
export function abortAnswer(abort: Abort, isGrpc: boolean, where: string): LocalAnswer {
  const failure = fail("FAULT_INJECTED", where);
  const code = `culvert-code: ${failure.code}\r\n`;
  if (!isGrpc) {
    if (hasNoBody(abort.status)) return { status: abort.status, fields: code, body: "", failure };
    const fields = `${code}content-type: text/plain\r\n`;
    return { status: abort.status, fields, body: `${failure.code}: ${failure.traits.text}\n`, failure };
  }
  const status = abort.grpcStatus ?? statusOfHttp(abort.status);
  const fields = `content-type: application/grpc\r\ngrpc-status: ${status}\r\ngrpc-message: ${failure.traits.text}\r\n${code}`;
  return { status: 200, fields, body: "", failure };
}
