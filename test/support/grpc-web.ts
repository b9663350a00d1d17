// Machine. A gRPC-Web client of a few lines for tests, over HTTP/1.1 as a browser's is: what is sent and what comes, frame by frame.
import { request, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { framed } from "./grpc.ts";
import { within } from "./until.ts";

/** How a call is made. */
export interface WebCallOptions {
  readonly host: string;
  readonly port: number;
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly message: Uint8Array;
  /** Base64, as the text form has it. */
  readonly isText?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  /** Each message as it comes, with its number from 0. */
  readonly onMessage?: (message: Buffer, index: number) => void;
}

/** What a call came to. */
export interface WebAnswer {
  readonly httpStatus: number;
  readonly headers: IncomingHttpHeaders;
  readonly messages: readonly Buffer[];
  /** Of the frame behind the messages; empty where none came. */
  readonly trailers: Readonly<Record<string, string>>;
  /** `grpc-status` of trailers or headers; -1 where none came. */
  readonly status: number;
}

const PREFIX = 5;
const TRAILERS = 0x80;

/** Makes one call. */
export async function webCall(options: WebCallOptions): Promise<WebAnswer> {
  const { host, port, path, message, isText = false, headers = {}, onMessage = () => undefined } = options;
  const body = isText ? Buffer.from(framed(message).toString("base64")) : framed(message);
  const type = `application/grpc-web${isText ? "-text" : ""}+proto`;
  const call = request({
    host,
    port,
    path,
    method: "POST",
    headers: { "content-type": type, "x-grpc-web": "1", "content-length": body.length, ...headers },
  });
  call.end(body);
  const response = await within(
    `a response to ${path}`,
    new Promise<IncomingMessage>((resolve, reject) => call.once("response", resolve).once("error", reject)),
  );
  const frames = new Frames(isText);
  const messages: Buffer[] = [];
  let trailers: Record<string, string> = {};
  response.on("data", (chunk: Buffer) => {
    for (const frame of frames.take(chunk)) {
      if (frame[0] === TRAILERS) trailers = parseTrailers(frame.subarray(PREFIX).toString("latin1"));
      else {
        onMessage(frame.subarray(PREFIX), messages.length);
        messages.push(frame.subarray(PREFIX));
      }
    }
  });
  await within(
    `the end of ${path}`,
    new Promise<void>((resolve, reject) => response.once("end", resolve).once("error", reject)),
  );
  const status = trailers["grpc-status"] ?? response.headers["grpc-status"];
  return {
    httpStatus: response.statusCode ?? 0,
    headers: response.headers,
    messages,
    trailers,
    status: typeof status === "string" ? Number(status) : -1,
  };
}

/** Cuts a body into frames. */
class Frames {
  readonly #isText: boolean;
  #text = "";
  #bytes = Buffer.alloc(0);

  constructor(isText: boolean) {
    this.#isText = isText;
  }

  /** The frames that `chunk` makes whole, each with its prefix. */
  take(chunk: Buffer): Buffer[] {
    this.#bytes = Buffer.concat([this.#bytes, this.#isText ? this.#decode(chunk) : chunk]);
    const frames: Buffer[] = [];
    while (this.#bytes.length >= PREFIX && this.#bytes.length >= PREFIX + this.#bytes.readUInt32BE(1)) {
      const end = PREFIX + this.#bytes.readUInt32BE(1);
      frames.push(this.#bytes.subarray(0, end));
      this.#bytes = this.#bytes.subarray(end);
    }
    return frames;
  }

  /** Group by group, for there may be padding within. */
  #decode(chunk: Buffer): Buffer {
    this.#text += chunk.toString("latin1");
    const groups = this.#text.match(/.{4}/g) ?? [];
    this.#text = this.#text.slice(4 * groups.length);
    return Buffer.concat(groups.map((group) => Buffer.from(group, "base64")));
  }
}

function parseTrailers(text: string): Record<string, string> {
  const lines = text.split("\r\n").filter((line) => line !== "");
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
  );
}
