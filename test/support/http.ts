// Machine. HTTP requests as a test makes them: one connection each, everything of the answer kept.
import { request, type IncomingHttpHeaders } from "node:http";
import { DEADLINE_MS, within } from "./until.ts";

/** An answer. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** What to ask. */
export interface HttpAsk {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Local address to connect from. */
  readonly from?: string;
  readonly deadlineMs?: number;
}

/** Asks over a connection of its own and reads the whole answer. */
export function ask(url: string, options: HttpAsk = {}): Promise<HttpAnswer> {
  const { method = "GET", headers = {}, body, from, deadlineMs = DEADLINE_MS } = options;
  const local = from === undefined ? {} : { localAddress: from };
  const answer = new Promise<HttpAnswer>((resolve, reject) => {
    const outgoing = request(url, { method, headers, agent: false, ...local }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString("utf8"),
        }),
      );
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
  return within(`an answer to ${method} ${url}`, answer, deadlineMs);
}
