// Machine. What a user does by hand with curl and nc, for the tour: one request, one line, and what came back.
import { request as httpRequest } from "node:http";
import { connect, type Socket } from "node:net";

/** An HTTP answer, or how the connection ended instead. */
export type Answer =
  | { readonly kind: "answer"; readonly status: number; readonly code: string | undefined; readonly body: string }
  | { readonly kind: "broken"; readonly how: string };

/** Sends one HTTP request on a connection of its own. */
export function http(method: string, url: string): Promise<Answer> {
  return new Promise((resolve) => {
    const broken = (error: NodeJS.ErrnoException): void =>
      resolve({ kind: "broken", how: error.code ?? error.message });
    const request = httpRequest(url, { method, agent: false, timeout: 15_000 }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (body += chunk));
      response.on("error", broken);
      response.on("end", () => {
        const code = response.headers["culvert-code"];
        const text = body.trim();
        resolve({ kind: "answer", status: response.statusCode ?? 0, code: code?.toString(), body: text });
      });
    });
    request.on("error", broken);
    request.on("timeout", () => request.destroy(new Error("no answer in 15 s")));
    request.end();
  });
}

/** Asks a proxy port for a tunnel (HTTP CONNECT); the head of its answer. */
export async function connectThrough(proxy: { host: string; port: number }, target: string): Promise<string> {
  const line = await TextConnection.open(proxy.host, proxy.port);
  line.send(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const head = await line.read();
  line.close();
  return head;
}

/** A TCP connection that is read and written as text. */
export class TextConnection {
  readonly #socket: Socket;
  #received = "";
  #ended: string | undefined;
  #news: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => {
      this.#received += text;
      this.#news();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => (this.#ended ??= error.code ?? error.message));
    socket.on("close", () => {
      this.#ended ??= "closed in order";
      this.#news();
    });
  }

  static open(host: string, port: number): Promise<TextConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, host, () => resolve(new TextConnection(socket)));
      socket.once("error", reject);
    });
  }

  send(text: string): void {
    this.#socket.write(text);
  }

  /** What has come, as soon as something has; how the connection ended if it has ended. */
  async read(): Promise<string> {
    await this.#until(() => this.#received !== "" || this.#ended !== undefined, 10_000);
    const text = this.#received;
    this.#received = "";
    return text === "" ? `(connection ${this.#ended ?? "silent for 10 s"})` : text.trim();
  }

  /** Milliseconds until the connection is gone, and how it ended; `undefined` if it still lives after `deadlineMs`. */
  async ended(deadlineMs: number): Promise<{ readonly afterMs: number; readonly how: string } | undefined> {
    const start = performance.now();
    await this.#until(() => this.#ended !== undefined, deadlineMs);
    return this.#ended === undefined ? undefined : { afterMs: performance.now() - start, how: this.#ended };
  }

  async #until(holds: () => boolean, deadlineMs: number): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, deadlineMs);
      this.#news = () => {
        if (!holds()) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}
