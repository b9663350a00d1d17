// Machine. One call of a gRPC-Web client as the server gets it, plain gRPC, and the server's response as the client gets it. Bytes are
// turned as they come: no message is waited for, and none is kept.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { FieldNames, fieldLine, withoutFields } from "../../filter/field-lines.ts";
import { CHUNKED, NO_BODY, type BodyKind } from "../../http/body-kind.ts";
import type { ResponseHead } from "../../http/message.ts";
import { contentTypeIn, grpcContentType, type GrpcContentType } from "../content-type.ts";
import { Base64Decoder, encodeBase64 } from "./base64.ts";
import { trailerFrame } from "./trailer-frame.ts";

/** Fields that say how the body of the other form lies, or how long it is. */
const OF_FORM = new FieldNames(["content-type", "content-length"]);

const CONTENT_TYPE_LINE = /(?:^|\n)content-type:[ \t]*([^\r\n]*)/i;

/** The parts of a request that are translated. */
export interface Translated {
  fields: string;
  body: BodyKind;
  takesTrailers: boolean;
}

/** Translates one call. */
export class WebTranslation {
  readonly #type: GrpcContentType;
  readonly #decoder: Base64Decoder | undefined;
  /** The response is none of gRPC's, an error page perhaps, and goes on as it is. */
  #isForeign = false;
  /** There is a body for the trailers to be in. */
  #hasBody = false;

  constructor(type: GrpcContentType) {
    this.#type = type;
    this.#decoder = type.form === "web-text" ? new Base64Decoder() : undefined;
  }

  /** Makes the request what the server takes. */
  request(message: Translated): void {
    const type = fieldLine("content-type", contentTypeIn("grpc", this.#type.encoding));
    message.fields = withoutFields(message.fields, OF_FORM) + type;
    if (message.body !== NO_BODY) message.body = CHUNKED;
    message.takesTrailers = true;
  }

  /** Whether bytes of the request go on as they come; otherwise `decode` turns them. */
  get takesBytes(): boolean {
    return this.#decoder === undefined;
  }

  /** Bytes of the request's body for the server, perhaps none. */
  decode(bytes: Buffer, start: number, end: number): Buffer | Failure {
    const decoded = this.#decoder?.decode(bytes, start, end);
    return decoded ?? fail("REQUEST_MALFORMED", "the body of a gRPC-Web call is no base64");
  }

  /** Why the request's body may not end here. */
  end(): Failure | undefined {
    if (this.#decoder?.isWhole !== false) return undefined;
    return fail("REQUEST_MALFORMED", "the body of a gRPC-Web call ends within a group of base64");
  }

  /** The server's head, with the end of the body as the client gets it. */
  responseHead(head: ResponseHead): ResponseHead {
    const fields = head.keptFields();
    const type = grpcContentType(CONTENT_TYPE_LINE.exec(fields)?.[1] ?? "");
    this.#isForeign = type?.form !== "grpc";
    this.#hasBody = head.body !== NO_BODY;
    if (type === undefined || this.#isForeign) return head;
    const own = fieldLine("content-type", contentTypeIn(this.#type.form, type.encoding));
    // What is all head in HTTP/2 needs an end in HTTP/1.1.
    const lines = withoutFields(fields, OF_FORM) + own + (this.#hasBody ? "" : "content-length: 0\r\n");
    return {
      status: head.status,
      body: this.#hasBody ? CHUNKED : NO_BODY,
      reason: head.reason,
      keptFields: () => lines,
    };
  }

  /** Whether bytes of the response go on as they come; otherwise `encode` turns them. */
  get givesBytes(): boolean {
    return this.#decoder === undefined || this.#isForeign;
  }

  /** Bytes of the response's body for the client. */
  encode(bytes: Buffer, start: number, end: number): Buffer {
    return encodeBase64(bytes, start, end);
  }

  /** The server's trailers, for the end of the body; `undefined` when the response has none, or told its status in its head. */
  trailers(trailers: string): Buffer | undefined {
    if (this.#isForeign || !this.#hasBody || trailers === "") return undefined;
    const frame = trailerFrame(trailers);
    return this.#decoder === undefined ? frame : encodeBase64(frame, 0, frame.length);
  }
}
