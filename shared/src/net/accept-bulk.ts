// Machine. Listens for connections that are read as `BulkSocket` reads: into pooled buffers through `onread`.
//
// `net.connect` takes `onread` officially. For accepted sockets the runtime offers none, so `takeHandles` below reaches
// for the listener's private `onconnection`; where that piece is missing the socket falls back to 'data' events, which
// costs speed and memory and nothing else. Measured per accepted connection: plain 75 µs, this 72, moving the handle out
// of a finished `Socket` 85, `dup` of its descriptor 90.
import { createServer, Socket } from "node:net";
import type { Server } from "node:net";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { bind } from "./bind.ts";
import type { BoundAddress } from "./bind.ts";
import { BulkSocket } from "./bulk-socket.ts";
import type { OnRead } from "./bulk-socket.ts";
import { processDescriptors } from "./descriptors.ts";
import { processListeners } from "./listeners.ts";

/** How a UNIX socket is bound: `unix-socket.ts` makes one. */
export interface UnixBinding {
  readonly path: string;
  bind(server: Server, onAcceptError: (failure: Failure) => void): Promise<BoundAddress | Failure>;
}

/** Where to listen: a TCP port, or a UNIX socket. */
export type BulkListenOptions = BulkAcceptOptions &
  (
    | {
        /** An IP address; the empty string is all of them, IPv6 and IPv4. */
        readonly host: string;
        readonly port: number;
        readonly unix?: undefined;
      }
    | { readonly unix: UnixBinding }
  );

interface BulkAcceptOptions {
  /** Gets each accepted socket: half-open allowed, TCP_NODELAY set, nothing read yet. */
  readonly onSocket: (socket: BulkSocket) => void;
  /** The process is out of descriptors, and the like: `detail` is the system's code. */
  readonly onAcceptError?: (failure: Failure) => void;
}

/** A listener that has bound its port. */
export interface BulkServer {
  readonly address: BoundAddress;
  /** Whether accepted sockets read through `onread`; false where the runtime no longer has the piece that this needs. */
  readonly pooled: boolean;
  /** Descriptor for socket options that the runtime does not offer; -1 when there is none. */
  readonly descriptor: number;
  /** Stops accepting. Sockets that were accepted live on. */
  close(): Promise<void>;
}

/** Listens. Fails as `bind` does. */
export async function acceptBulk(options: BulkListenOptions): Promise<BulkServer | Failure> {
  const { onSocket } = options;
  const path = options.unix?.path;
  const refused = (failure: Failure): void => options.onAcceptError?.(failure);
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    const bulk = new BulkSocket(() => socket, true, path);
    if (processDescriptors.admit(bulk.descriptor)) onSocket(bulk);
    else bulk.reset();
  });
  const address =
    options.unix === undefined
      ? await bind(server, options.host, options.port, refused)
      : await options.unix.bind(server, refused);
  if (isFailure(address)) return address;
  const pooled = takeHandles(server, onSocket, refused, path);
  const descriptor = (server as unknown as { _handle?: { fd?: number } | null })._handle?.fd ?? -1;
  return { address, pooled, descriptor, close: () => new Promise((closed) => void server.close(() => closed())) };
}

/** The private piece of a listening server: the native listener calls `onconnection` with each accepted handle. */
interface ListenHandle {
  setNoDelay(on: boolean): number;
  onconnection: (status: number, handle: AcceptedHandle | undefined) => void;
}
interface AcceptedHandle {
  readonly fd: number;
  setNoDelay(on: boolean): number;
  close(): void;
}

/** Puts itself in the place where accepted handles become sockets. `false`, and nothing changed, if there is no such place. */
function takeHandles(
  server: Server,
  onSocket: (socket: BulkSocket) => void,
  refused: (failure: Failure) => void,
  path: string | undefined,
): boolean {
  const listener = (server as unknown as { _handle?: Partial<ListenHandle> | null })._handle;
  if (typeof listener?.onconnection !== "function") return false;
  const original = listener.onconnection;
  // Accepted sockets inherit it, which spares a system call each; a UNIX socket has no such delay.
  const inherits = path !== undefined || listener.setNoDelay?.(true) === 0;
  listener.onconnection = (status, handle) => {
    if (status !== 0 || handle === undefined) return refused(fail("TOO_MANY_CONNECTIONS", `accept: ${status}`));
    if (!processDescriptors.admit(handle.fd)) return handle.close();
    if (!inherits) {
      if (typeof handle.setNoDelay !== "function") return original.call(listener, status, handle);
      handle.setNoDelay(true);
    }
    const makeSocket = (onread: OnRead): Socket => {
      const made = { handle, onread, allowHalfOpen: true, readable: true, writable: true, manualStart: true };
      return new Socket(made as object);
    };
    processListeners.accepted();
    onSocket(new BulkSocket(makeSocket, false, path));
  };
  return true;
}
