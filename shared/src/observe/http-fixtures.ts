// For tests: one HTTP request as raw bytes, so that a test can send what no client would.
import { connect } from "node:net";
import type { HttpListen } from "./http-endpoint.ts";

/** An answer as it stood on the wire. */
export interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** Sends `text` and resolves with everything that came back until the server closed. */
export function exchange(to: HttpListen, text: string): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket = "path" in to ? connect({ path: to.path }) : connect({ host: to.host, port: to.port });
    let received = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => (received += chunk));
    socket.on("error", reject);
    socket.on("close", () => {
      const end = received.indexOf("\r\n\r\n");
      const head = end === -1 ? received : received.slice(0, end);
      resolve({ status: Number(head.split(" ")[1] ?? 0), head, body: end === -1 ? "" : received.slice(end + 4) });
    });
    socket.write(text);
  });
}

/** One request that asks the server to close after it. `headers` come with their line ends. */
export function ask(to: HttpListen, line: string, headers = "Host: localhost\r\n"): Promise<RawAnswer> {
  return exchange(to, `${line} HTTP/1.1\r\n${headers}Connection: close\r\n\r\n`);
}
