// Machine. Clients that ask without a pause, each in its own way of using connections, and tell of every request that was lost.
import { Agent, request } from "node:http";
import { connect, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { setTimeout as pause } from "node:timers/promises";
import { RESET_REFUSED_STREAM } from "@culvert/shared/failure/failure.ts";
import { within } from "./until.ts";

/** Between two requests of one client: what is asked for is a moment in each, not speed. */
const THINK_MS = 4;
/** An answer may wait for a change that is on its way, and the machine may be busy. */
const PATIENCE_MS = 60_000;
const REFUSED = "refused stream";
/** The connection that was kept has ended before anything of an answer. */
const CROSSED = "no answer over a kept connection";

/** One request over HTTP/1.1: `undefined`, or what became of it instead of an answer 200. */
export function askOver(agent: Agent | undefined, url: string): Promise<string | undefined> {
  const answer = new Promise<string | undefined>((resolve) => {
    const asking = request(
      url,
      agent === undefined ? { agent: false, headers: { connection: "close" } } : { agent },
      (response) => {
        const told =
          response.statusCode === 200
            ? undefined
            : `${response.statusCode} ${String(response.headers["culvert-code"])}`;
        response.on("error", (error) => resolve(String(error)));
        response.on("end", () => resolve(response.complete ? told : "cut short"));
        response.resume();
      },
    );
    asking.on("error", (error: NodeJS.ErrnoException) =>
      resolve(asking.reusedSocket && error.code === "ECONNRESET" ? CROSSED : String(error)),
    );
    asking.end();
  });
  return within(`an answer to ${url}`, answer, PATIENCE_MS);
}

/** An agent of one connection, which it keeps. */
export function keeping(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 1 });
}

/** A session of HTTP/2 in clear, and one more whenever the server has asked to go elsewhere. */
export class Http2Client {
  readonly #url: string;
  readonly #sessions: ClientHttp2Session[] = [];

  constructor(url: string) {
    this.#url = url;
  }

  /** A request whose body is not ended. */
  begin(path: string): ClientHttp2Stream {
    return this.#session().request({ ":path": path, ":method": "POST" });
  }

  /** One request: `undefined`, or what became of it instead of an answer 200. A stream that was refused was not processed (RFC 9113 section 8.7). */
  async ask(path: string): Promise<string | undefined> {
    for (;;) {
      const outcome = await this.#askOnce(path);
      if (outcome !== REFUSED) return outcome;
    }
  }

  #askOnce(path: string): Promise<string | undefined> {
    const stream = this.#session().request({ ":path": path });
    const answer = new Promise<string | undefined>((resolve) => {
      let told: string | undefined = "no answer";
      stream.on("response", (head) => {
        told = head[":status"] === 200 ? undefined : `${head[":status"]} ${String(head["culvert-code"])}`;
      });
      stream.on("error", (error) => resolve(stream.rstCode === RESET_REFUSED_STREAM ? REFUSED : String(error)));
      // Not at the end: a stream that is refused comes to its end, too, and only then is it known why.
      stream.on("close", () => {
        if (stream.rstCode === RESET_REFUSED_STREAM) resolve(REFUSED);
        else resolve(stream.rstCode === 0 ? told : `reset ${stream.rstCode}`);
      });
      stream.resume();
    });
    return within(`an answer to ${path}`, answer, PATIENCE_MS);
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }

  #session(): ClientHttp2Session {
    const last = this.#sessions.at(-1);
    if (last !== undefined && !last.closed && !last.destroyed) return last;
    const session = connect(this.#url);
    session.on("error", () => {});
    this.#sessions.push(session);
    return session;
  }
}

/** Clients of all kinds at once. */
export class SteadyClients {
  readonly lost: string[] = [];
  answered = 0;
  /** Path of the requests from now on. */
  path = "/";
  readonly #running: Promise<void>[] = [];
  readonly #closing: (() => void)[] = [];
  #isOver = false;

  /** A client with a connection for each request. */
  startFresh(url: string): void {
    this.#start("fresh", (path) => askOver(undefined, url + path));
  }

  /**
   * A client that keeps its connection. `asksAgain`: when that is closed while it is at rest, a request that has crossed the end is asked
   * anew (RFC 9112 section 9.3.1).
   */
  startKeeping(url: string, { asksAgain = false } = {}): void {
    const agent = keeping();
    this.#closing.push(() => agent.destroy());
    this.#start("kept", async (path) => {
      const outcome = await askOver(agent, url + path);
      return asksAgain && outcome === CROSSED ? askOver(agent, url + path) : outcome;
    });
  }

  /** So many streams at a time over HTTP/2. */
  startHttp2(url: string, streams: number): void {
    const client = new Http2Client(url);
    this.#closing.push(() => client.close());
    for (let index = 0; index < streams; index += 1) this.#start("http2", (path) => client.ask(path));
  }

  /** Ends them after the request that each of them has under way. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
    for (const close of this.#closing) close();
  }

  #start(kind: string, ask: (path: string) => Promise<string | undefined>): void {
    this.#running.push(this.#run(kind, ask));
  }

  async #run(kind: string, ask: (path: string) => Promise<string | undefined>): Promise<void> {
    while (!this.#isOver) {
      const { path } = this;
      const outcome = await ask(path).catch(String);
      if (outcome === undefined) this.answered += 1;
      else this.lost.push(`${kind} ${path}: ${outcome}`);
      await pause(THINK_MS);
    }
  }
}
