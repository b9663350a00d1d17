// Machine. An HTTP/1.1 client by hand: sends the very bytes that a test says over one connection, and reads the answers to them one
// after another.
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { field, parseMessage, statusOf, type Message } from "./http-message.ts";
import { DEADLINE_MS, within } from "./until.ts";

/** An answer with the interim ones before it. */
export interface WireAnswer extends Message {
  readonly status: number;
  /** The body as text. */
  readonly text: string;
  /** Heads of the 1xx answers that came before. */
  readonly interim: readonly string[];
}

/** One connection. Make it with `dialHttp`, or give it a tunnel. */
export class HttpWire {
  readonly socket: Duplex;
  #bytes: Buffer = Buffer.alloc(0);
  #ended: string | undefined;
  readonly #whenEnded: Promise<string>;
  #wake: () => void = () => {};

  constructor(socket: Duplex) {
    this.socket = socket;
    this.#whenEnded = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#ended ??= how;
        resolve(this.#ended);
        this.#wake();
      };
      socket.once("end", () => end("end"));
      socket.once("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
      socket.once("close", () => end("close"));
    });
    socket.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake();
    });
  }

  /** What has come and was not yet taken as an answer. */
  get unread(): string {
    return this.#bytes.toString("latin1");
  }

  /** Sends text of which each character is one byte, or bytes. */
  send(data: string | Uint8Array): void {
    if (typeof data === "string") this.socket.write(data, "latin1");
    else this.socket.write(data);
  }

  /** Sends a request and waits for its answer. */
  ask(text: string): Promise<WireAnswer> {
    this.send(text);
    return this.answer({ bodiless: text.startsWith("HEAD ") });
  }

  /** A GET with the usual fields and `more`. */
  get(path: string, more: Readonly<Record<string, string>> = {}): Promise<WireAnswer> {
    return this.ask(request("GET", path, more));
  }

  /** Waits for the next whole final answer. */
  async answer(options: { readonly bodiless?: boolean; readonly deadlineMs?: number } = {}): Promise<WireAnswer> {
    const { bodiless = false, deadlineMs = DEADLINE_MS } = options;
    const interim: string[] = [];
    for (;;) {
      const message = this.#take(bodiless);
      const status = message === undefined ? undefined : statusOf(message.head);
      if (message !== undefined && status !== undefined) {
        if (status >= 200) return { ...message, status, text: message.body.toString("utf8"), interim };
        interim.push(message.head);
      } else if (this.#ended === undefined) {
        await within(`an answer, got ${JSON.stringify(this.unread.slice(0, 300))}`, this.#more(), deadlineMs);
      } else {
        throw new Error(`the connection ended (${this.#ended}) before an answer: ${JSON.stringify(this.unread)}`);
      }
    }
  }

  /** Waits for the next interim head. */
  async interim(): Promise<string> {
    for (;;) {
      const end = this.#bytes.indexOf("\r\n\r\n");
      if (end >= 0) {
        const head = this.#bytes.toString("latin1", 0, end);
        this.#bytes = this.#bytes.subarray(end + 4);
        return head;
      }
      if (this.#ended !== undefined) throw new Error(`the connection ended (${this.#ended}) before an interim answer`);
      await within("an interim answer", this.#more());
    }
  }

  /** Waits for the end of the receiving direction: `end` for a clean one, else the error's code. */
  ended(deadlineMs: number = DEADLINE_MS): Promise<string> {
    return within("the end of an HTTP connection", this.#whenEnded, deadlineMs);
  }

  /** Ends the sending direction. */
  finish(): void {
    this.socket.end();
  }

  close(): void {
    this.socket.destroy();
  }

  #take(bodiless: boolean): Message | undefined {
    const parsed = parseMessage(this.#bytes, { bodiless, ended: this.#ended === "end" });
    if (parsed === undefined) return undefined;
    this.#bytes = this.#bytes.subarray(parsed.length);
    return parsed.message;
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** The text of a request without body; `host` is `shop` unless `more` has one. */
export function request(method: string, path: string, more: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({ host: "shop", ...more }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
}

/** Connects to a listener. */
export async function dialHttp(host: string, port: number): Promise<HttpWire> {
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
  const wire = new HttpWire(socket);
  await within(
    `a connection to ${host}:${port}`,
    new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    }),
  );
  return wire;
}

/** Tells an answer of the waypoint's own: `403 DENIED_BY_POLICY`, or the bare status of an application's. */
export function verdictOf(answer: WireAnswer): string {
  const code = field(answer.head, "culvert-code");
  return code === undefined ? String(answer.status) : `${answer.status} ${code}`;
}
