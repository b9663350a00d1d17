// Pure. Our own answers as a gRPC client understands them: HTTP 200 with the status in the head and no body ("Trailers-Only").
import { statusOfHttp } from "@culvert/shared/grpc/status.ts";
import { fieldLine } from "../filter/field-lines.ts";
import type { LocalAnswer } from "../local-answer.ts";
import { grpcStatusIn } from "./status.ts";

/** Fields that would speak of the body that goes away. */
const OF_BODY = /(?:^|(?<=\n))content-[a-z]+:[^\n]*\n/gi;

/** As much of an answer's body as becomes its message. */
const MAX_MESSAGE = 1_024;

/**
 * The same answer for a gRPC client. A failure says its own status; an answer that a route gives on purpose says it with a
 * `grpc-status` among its fields, or has the one that its HTTP status stands for.
 */
export function grpcAnswer(answer: LocalAnswer, contentType: string): LocalAnswer {
  const { status, fields, body, failure } = answer;
  const given = grpcStatusIn(fields);
  const code = failure?.traits.grpcStatus ?? statusOfHttp(status);
  const own = given === undefined ? fieldLine("grpc-status", String(code)) + messageLine(body) : "";
  return {
    ...answer,
    status: 200,
    fields: `content-type: ${contentType}\r\n${own}${fields.replaceAll(OF_BODY, "")}`,
    body: "",
  };
}

function messageLine(body: string): string {
  const message = encodeGrpcMessage(body.slice(0, MAX_MESSAGE).trim());
  return message === "" ? "" : `grpc-message: ${message}\r\n`;
}

/** Percent-encodes `grpc-message`: all bytes but printable ASCII, and `%`. `bytes` has one character for each (latin1). */
export function encodeGrpcMessage(bytes: string): string {
  return bytes.replaceAll(
    /[^\x20-\x24\x26-\x7e]/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
  );
}
