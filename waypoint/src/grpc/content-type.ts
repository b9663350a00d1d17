// Pure. Which requests are gRPC, told by their content type (gRPC over HTTP/2 "Requests"; gRPC-Web "Protocol differences").

/** How messages lie in the body: as gRPC has them, with the trailers in the body (gRPC-Web), or that in base64. */
export type GrpcForm = "grpc" | "web" | "web-text";

/** A content type of gRPC, in its parts. */
export interface GrpcContentType {
  readonly form: GrpcForm;
  /** What the messages are written in, with its `+`, such as `+proto`; empty when it is not said. */
  readonly encoding: string;
}

const PATTERN = /^application\/grpc(-web(?:-text)?)?(\+[!#$%&'*+.^`|~\w-]{1,64})?[ \t]*(?:;|$)/i;

/** The parts of a content type; `undefined` when it is none of gRPC's. */
export function grpcContentType(value: string): GrpcContentType | undefined {
  const found = PATTERN.exec(value);
  if (found === null) return undefined;
  const [, web, encoding = ""] = found;
  const form = web === undefined ? "grpc" : web.length === "-web".length ? "web" : "web-text";
  return { form, encoding };
}

/** The content type of messages in the same encoding and in `form`. */
export function contentTypeIn(form: GrpcForm, encoding: string): string {
  return `application/grpc${form === "grpc" ? "" : `-${form}`}${encoding}`;
}
