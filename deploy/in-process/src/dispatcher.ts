// Machine. An undici `Dispatcher` whose connections go through the mesh, for `fetch` and for undici itself. Loaded only where one is asked for.
import { Agent, Dispatcher } from "undici";
import type { MeshSocket } from "./mesh-socket.ts";

/** What a dispatcher stands on. */
export interface MeshDispatcherOptions {
  readonly connect: (to: { readonly host: string; readonly port: number }) => MeshSocket;
  /** Calls `listener` when connections that are kept are those of who this process no longer is; returns the way to stop. */
  readonly onIdentity: (listener: () => void) => () => void;
  /** Options of undici's `Agent` but `connect`. */
  readonly agent: Omit<Agent.Options, "connect">;
}

const HTTP_PORT = 80;

/** Pools by destination; the pools of an identity that has been replaced end with the requests that they have. */
export class MeshDispatcher extends Dispatcher {
  readonly #make: () => Agent;
  readonly #stop: () => void;
  #agent: Agent;

  constructor({ connect, onIdentity, agent }: MeshDispatcherOptions) {
    super();
    this.#make = () => new Agent({ ...agent, connect: (to, callback) => dial(connect, to, callback) });
    this.#agent = this.#make();
    this.#stop = onIdentity(() => {
      const before = this.#agent;
      this.#agent = this.#make();
      before.close().catch(ignore);
    });
  }

  override dispatch(options: Agent.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    return this.#agent.dispatch(options, handler);
  }

  override close(): Promise<void>;
  override close(done: () => void): void;
  override close(done?: () => void): Promise<void> | void {
    this.#stop();
    return done === undefined ? this.#agent.close() : this.#agent.close(done);
  }

  override destroy(): Promise<void>;
  override destroy(error: Error | null): Promise<void>;
  override destroy(done: () => void): void;
  override destroy(error: Error | null, done: () => void): void;
  override destroy(error?: Error | null | (() => void), done?: () => void): Promise<void> | void {
    this.#stop();
    if (typeof error === "function") return this.#agent.destroy(error);
    return done === undefined ? this.#agent.destroy(error ?? null) : this.#agent.destroy(error ?? null, done);
  }
}

type Callback = (error: Error | null, socket: never) => void;

/** undici takes a connection only once it is open, and never before this call has returned. */
function dial(
  open: MeshDispatcherOptions["connect"],
  { protocol, hostname, port }: { readonly protocol: string; readonly hostname: string; readonly port: string },
  callback: unknown,
): void {
  const told = callback as Callback;
  if (protocol !== "http:") {
    const text = `expected http:, found ${protocol} for ${hostname}: the mesh encrypts by itself, and what is outside of it is not its own`;
    queueMicrotask(() => told(new TypeError(text), undefined as never));
    return;
  }
  const host = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  const socket = open({ host, port: port === "" ? HTTP_PORT : Number(port) });
  const failed = (error: Error): void => told(error, undefined as never);
  socket.once("error", failed);
  socket.once("connect", () => {
    socket.off("error", failed);
    told(null, socket as never);
  });
}

function ignore(): void {}
