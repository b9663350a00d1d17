// Machine. TCP by hand: what a test says to a socket and what comes back, with the way it ended.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { DEADLINE_MS, within } from "./until.ts";

/** What one connection brought. */
export interface Conversation {
  readonly received: Buffer;
  /** `end`: a clean FIN; otherwise the error code, such as `ECONNRESET` or `ECONNREFUSED`. */
  readonly ended: string;
}

/** Whether something accepts connections there. */
export function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** One TCP connection whose bytes are collected. Make it with `dial`. */
export class Connection {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  readonly #ended: Promise<string>;
  #length = 0;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.#wake?.();
    });
    this.#ended = new Promise((resolve) => {
      socket.once("end", () => resolve("end"));
      socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      socket.once("close", () => resolve("close"));
    });
  }

  /** Everything received so far. */
  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  send(data: string | Uint8Array): void {
    this.socket.write(data);
  }

  /** Ends the sending direction (FIN); the other stays open. */
  finish(data?: string | Uint8Array): void {
    if (data === undefined) this.socket.end();
    else this.socket.end(data);
  }

  /** Aborts the connection with a TCP reset. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Waits for the end of the receiving direction and tells how it came. */
  ended(deadlineMs: number = DEADLINE_MS): Promise<string> {
    return within("the end of a connection", this.#ended, deadlineMs);
  }

  /** Waits for at least `count` bytes. */
  async bytes(count: number, deadlineMs: number = DEADLINE_MS): Promise<Buffer> {
    const enough = new Promise<string>((resolve) => {
      this.#wake = () => {
        if (this.#length >= count) resolve("enough");
      };
      this.#wake();
    });
    const how = await within(`${count} bytes, got ${this.#length}`, Promise.race([enough, this.#ended]), deadlineMs);
    if (this.#length < count) throw new Error(`the connection ended (${how}) after ${this.#length} bytes`);
    return this.received;
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Begins to connect. Whatever becomes of it is told by `ended`; for connections that are to be refused. */
export function attempt(host: string, port: number): Connection {
  return new Connection(connect({ host, port, allowHalfOpen: true, noDelay: true }));
}

/** Connects; fails with Node's error when that is refused. */
export async function dial(host: string, port: number): Promise<Connection> {
  const connection = attempt(host, port);
  const { socket } = connection;
  await within(
    `a connection to ${host}:${port}`,
    new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    }),
  );
  return connection;
}

/** Connects, sends `data` with FIN, and collects all that comes until the other side ends. */
export async function converse(host: string, port: number, data: string | Uint8Array): Promise<Conversation> {
  const connection = attempt(host, port);
  connection.finish(data);
  const ended = await connection.ended();
  connection.close();
  return { received: connection.received, ended };
}

/** The app, whose end of the connection is `app`, closes its half first; what the client still has to say must reach it. */
export async function appClosesFirst(connection: Connection, app: Socket): Promise<void> {
  app.end("only this");
  assert.equal(await connection.ended(), "end");
  assert.equal(connection.received.toString(), "only this");
  const chunks: Buffer[] = [];
  app.on("data", (chunk: Buffer) => chunks.push(chunk));
  connection.finish("and that");
  await once(app, "end");
  assert.equal(Buffer.concat(chunks).toString(), "and that");
}
