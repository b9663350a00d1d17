// Machine. The stream to the authority, begun anew whenever it ends: with patience after a failure, at once with a new certificate.
import { fail, isFailure, type Failure } from "../../failure/failure.ts";
import type { GrpcClient } from "../../grpc/client.ts";
import type { Identity } from "../../identity/source.ts";
import { backoffDelay } from "../../net/backoff.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import { formatHostPort } from "../../net/ip.ts";
import type { ResourceAuthority } from "../process/process-config.ts";
import { clientOf } from "./authority-client.ts";
import type { Hello } from "./frames.ts";
import { StreamCall } from "./stream-call.ts";
import type { StreamEvents, StreamNeeds } from "./stream-options.ts";
import type { WholeUpdate } from "./update-parts.ts";

/** From half a second to a second after the first failure, at most half a minute: with jitter, for many are lost together. */
const RETRY = { baseMs: 1_000, capMs: 30_000 };

/** What the stream needs. */
export interface ReconnectingOptions {
  readonly clock: Clock;
  readonly identity: StreamNeeds["identity"];
  readonly authority: ResourceAuthority;
  readonly events: StreamEvents;
  /** Opens the way to the authority; mutual TLS as `identity` and `authority` say when not given. */
  readonly client?: (own: Identity) => Promise<GrpcClient | Failure>;
}

/** For whom the stream is there. None of it may throw. */
export interface StreamUser {
  /** Settles once all that the stream before has brought is dealt with. */
  settled(): Promise<void>;
  /** What is said first, and asked for. */
  greeting(): { readonly hello: Hello; readonly subscribe: readonly string[] };
  /** An update has come, to be acknowledged or refused on `call`. */
  take(call: StreamCall, update: WholeUpdate): void;
  /** The stream has ended, whether or not it is begun anew. */
  ended(): void;
  /** There is none, and another is tried in some time; CONFIGURATION_UNAVAILABLE. */
  lost(failure: Failure): void;
}

/** See the head of the file. */
export class ReconnectingStream {
  /** `host:port` of the authority. */
  readonly name: string;
  readonly #options: ReconnectingOptions;
  readonly #user: StreamUser;
  readonly #stopWatching: () => void;
  #client: GrpcClient | undefined;
  #call: StreamCall | undefined;
  #retry: Timer | undefined;
  #connects = 0;
  #failures = 0;
  #isConnected = false;
  /** What was told last of the connection; empty: that it is there. */
  #told: string | undefined;
  /** Whether a stream that ends now was ended here, to begin another. */
  #isRestarting = false;
  #isClosed = false;

  constructor(options: ReconnectingOptions, user: StreamUser) {
    const { identity, authority } = options;
    this.#options = options;
    this.#user = user;
    this.name = formatHostPort(authority.address.host, authority.address.port);
    let shown = identity.get().svid;
    this.#stopWatching = identity.onChange(({ svid }) => {
      if (svid === shown) return;
      shown = svid;
      this.restart();
    });
  }

  /** Whether the authority has answered on the stream that is open. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** How often a stream has begun. */
  get connects(): number {
    return this.#connects;
  }

  /** Begins the first one. */
  open(): void {
    void this.#run();
  }

  /** Asks for destinations, and for others no longer, if there is a stream: the next one asks for what is wanted then. */
  want(subscribe: readonly string[], unsubscribe: readonly string[]): void {
    this.#call?.want(subscribe, unsubscribe);
  }

  /** Begins anew, with the certificate of now. */
  restart(): void {
    if (this.#retry === undefined) {
      this.#isRestarting = true;
      this.#client?.close();
      return;
    }
    this.#retry.cancel();
    this.#retry = undefined;
    void this.#run();
  }

  close(): void {
    this.#isClosed = true;
    this.#retry?.cancel();
    this.#stopWatching();
    this.#client?.close();
  }

  /** One stream from its beginning to its end. Never rejects. */
  async #run(): Promise<void> {
    this.#isRestarting = false;
    const { identity, authority, clock } = this.#options;
    const own = identity.get();
    const client = await (this.#options.client?.(own) ?? clientOf(authority, own, clock));
    // What is held then is what hello tells, and what the first update adds to.
    await this.#user.settled();
    if (this.#isClosed) return isFailure(client) ? undefined : client.close();
    if (isFailure(client)) return this.#again(client);
    this.#client = client;
    this.#connects += 1;
    const { hello, subscribe } = this.#user.greeting();
    const call = new StreamCall(client, clock, hello, subscribe, (update) => this.#take(call, update));
    this.#call = call;
    // The certificate was replaced while the file was read.
    if (this.#isRestarting) client.close();
    const failure = await call.ended;
    client.close();
    this.#call = undefined;
    this.#client = undefined;
    this.#user.ended();
    this.#isConnected = false;
    if (this.#isClosed) return;
    if (this.#isRestarting) void this.#run();
    else this.#again(failure);
  }

  #take(call: StreamCall, update: WholeUpdate): void {
    this.#failures = 0;
    this.#isConnected = true;
    if (this.#told !== "") this.#options.events.onConnected();
    this.#told = "";
    this.#user.take(call, update);
  }

  #again(why: Failure): void {
    const { clock, events } = this.#options;
    this.#failures += 1;
    const failure = fail("CONFIGURATION_UNAVAILABLE", `${this.name}: ${why.detail}`);
    if (this.#told !== failure.detail) events.onDisconnected(failure);
    this.#told = failure.detail;
    this.#user.lost(failure);
    this.#retry = clock.after(backoffDelay(RETRY, this.#failures, Math.random()), () => {
      this.#retry = undefined;
      void this.#run();
    });
  }
}
