// Machine. One HTTP/2 connection to an application: the places that it has for requests, and its end.
import { connect as startHttp2, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { type Failure, fail } from "@culvert/shared/failure/failure.ts";
import { STREAMS_BEFORE_RECYCLING } from "@culvert/shared/tunnel/limits.ts";
import type { ByteChannel } from "../channel/channel.ts";
import { ChannelError, sessionCarrier } from "../channel/channel-duplex.ts";
import { type Due, NEVER } from "../deadlines.ts";
import { Farewell, FAREWELL_TICK_MS } from "./farewell.ts";
import type { Http2Shared } from "./shared-state.ts";
import { Turn } from "./turn.ts";
import { UpstreamStream, type UpstreamOwner } from "./upstream-stream.ts";

/** Requests that a session keeps the means for when they are over. */
const MOST_SPARE = 32;

/** Who has the sessions. */
export interface SessionHome {
  /** It takes requests. Called once, if ever. */
  onReady(session: UpstreamSession): void;
  /** There may be room for a request. */
  onRoom(session: UpstreamSession): void;
  /** It takes no more requests. Called once. */
  onLeaving(session: UpstreamSession): void;
}

/** See the head of the file. */
export class UpstreamSession implements UpstreamOwner, Due {
  dueAt = NEVER;
  readonly key: string;
  /** As it is spoken here: TLS begins and ends at this hop. */
  readonly scheme: "http" | "https";
  readonly turn = new Turn();
  reused = false;
  allowsConnect = false;
  failure: Failure | undefined = undefined;
  lastStream = Infinity;
  readonly #home: SessionHome;
  readonly #shared: Http2Shared;
  readonly #session: ClientHttp2Session;
  readonly #farewell: Farewell;
  readonly #spare: UpstreamStream[] = [];
  /** Places taken now, and all that ever were. */
  #streams = 0;
  #taken = 0;
  #most = 0;
  #ready = false;
  #leaving = false;

  constructor(channel: ByteChannel, key: string, home: SessionHome, shared: Http2Shared) {
    this.key = key;
    this.scheme = channel.alpn === undefined ? "http" : "https";
    this.#home = home;
    this.#shared = shared;
    const duplex = sessionCarrier(channel);
    const session = startHttp2("http://application", { ...shared.upstream, createConnection: () => duplex });
    this.#session = session;
    this.#farewell = new Farewell(channel, duplex, shared);
  }

  /** Begins: its home is told of everything from here on. */
  open(): void {
    const { limits, deadlines } = this.#shared;
    const session = this.#session;
    session.on("remoteSettings", ({ maxConcurrentStreams, enableConnectProtocol }) => {
      this.#most = Math.min(limits.upstreamStreams, maxConcurrentStreams ?? Infinity);
      this.allowsConnect = enableConnectProtocol === true;
      if (!this.#ready) this.#becomeReady();
      else if (this.hasRoom) this.#home.onRoom(this);
    });
    session.on("goaway", (code, lastStream) => {
      this.lastStream = lastStream;
      this.#leave(code === 0 ? undefined : fail("APP_RESET_REQUEST", `GOAWAY with code ${code}`));
    });
    session.on("error", (error: Error) => this.#leave(failureOf(error)));
    session.on("close", () => this.#gone());
    session.setLocalWindowSize(limits.session.connectionWindow);
    deadlines.add(this);
    this.dueAt = deadlines.in(limits.session.settingsTimeoutMs);
  }

  /** The application has said how many requests it takes. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Requests that it takes at once. */
  get most(): number {
    return this.#most;
  }

  /** Requests in flight. */
  get streams(): number {
    return this.#streams;
  }

  /** It takes another request. */
  get hasRoom(): boolean {
    return !this.#leaving && this.#streams < this.#most && !this.#session.closed && !this.#session.destroyed;
  }

  /** It carries nothing. */
  get idle(): boolean {
    return this.#streams === 0;
  }

  /** A place for one request; only where there is room. */
  take(): UpstreamStream {
    this.#streams += 1;
    this.#taken += 1;
    this.dueAt = NEVER;
    if (this.#taken >= STREAMS_BEFORE_RECYCLING) this.retire();
    return this.#spare.pop() ?? new UpstreamStream(this, this.#shared);
  }

  /** No more requests; those in flight go on, and the last one takes the session with it. */
  retire(): void {
    this.#leave(undefined);
    // A request that has its place may not have its stream yet.
    if (this.#streams === 0) this.#close();
  }

  request(list: readonly string[], options: object): ClientHttp2Stream | Failure {
    const session = this.#session;
    if (session.closed || session.destroyed) return this.failure ?? fail("APP_REFUSED_REQUEST", "the session is over");
    try {
      return session.request(list, options);
    } catch (error) {
      return fail("INTERNAL", `request: ${String(error)}`);
    }
  }

  released(stream: UpstreamStream): void {
    this.#streams -= 1;
    if (this.#spare.length < MOST_SPARE) this.#spare.push(stream);
    if (this.#streams === 0) this.#rest();
    if (this.#leaving && this.#streams === 0) this.#close();
    else if (this.hasRoom) this.#home.onRoom(this);
  }

  onDue(): void {
    if (this.#streams > 0) return;
    if (!this.#ready && !this.#session.destroyed) {
      const { settingsTimeoutMs } = this.#shared.limits.session;
      this.#session.destroy(new ChannelError(fail("APP_TIMEOUT", `no SETTINGS in ${settingsTimeoutMs} ms`)));
    }
    this.dueAt = this.#shared.deadlines.in(FAREWELL_TICK_MS);
    if (this.#session.destroyed) this.#farewell.tick();
    else this.retire();
  }

  #becomeReady(): void {
    this.#ready = true;
    this.#rest();
    this.#home.onReady(this);
  }

  #close(): void {
    this.#session.close();
    this.dueAt = this.#shared.deadlines.in(FAREWELL_TICK_MS);
  }

  #rest(): void {
    this.dueAt = this.#shared.deadlines.in(this.#shared.limits.upstreamIdleMs);
  }

  #leave(failure: Failure | undefined): void {
    this.failure ??= failure;
    if (this.#leaving) return;
    this.#leaving = true;
    this.#home.onLeaving(this);
  }

  #gone(): void {
    this.#leave(undefined);
    this.dueAt = NEVER;
    this.#shared.deadlines.remove(this);
  }
}

function failureOf(error: Error & { code?: string; syscall?: string }): Failure {
  if (error instanceof ChannelError) return error.failure;
  if (error.syscall !== undefined) return fail("APP_RESET", error.code ?? error.message);
  // The library's verdict on the application's frames: among them all that is no HTTP/2.
  if (error.code === "ERR_HTTP2_ERROR") return fail("UPSTREAM_RESPONSE_MALFORMED", `HTTP/2: ${error.message}`);
  return fail("APP_RESET_REQUEST", error.message);
}
