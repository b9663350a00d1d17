// Machine. Dials a TCP address for a `BulkSocket`.
import { Socket } from "node:net";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { BulkSocket } from "./bulk-socket.ts";
import type { Clock } from "./clock.ts";
import { deadlinesOf } from "./deadlines.ts";
import { processDescriptors } from "./descriptors.ts";
import { preparedDescriptor } from "./prepared-dials.ts";

/** Whom to dial. */
export interface BulkConnectOptions {
  /** An IP address; a name is looked up, which costs time and a thread, so the data path has none. */
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string;
  /** A TCP socket of the address's family that has options of its own; it belongs to the dial from here on. */
  readonly descriptor?: number;
  /** Told of the socket once its first packet is on its way, if `host` is an address. */
  readonly onDialling?: (socket: BulkSocket) => void;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/**
 * Dials one address. Fails with APP_REFUSED, APP_TIMEOUT or APP_UNREACHABLE, whose detail has address and system code, and
 * with TOO_MANY_CONNECTIONS while descriptors are short.
 */
export function connectBulk(options: BulkConnectOptions): Promise<BulkSocket | Failure> {
  const { host, port, localAddress, onDialling, timeoutMs, clock } = options;
  const { shortage } = processDescriptors;
  if (shortage !== undefined && options.descriptor === undefined) return Promise.resolve(shortage);
  const descriptor = options.descriptor ?? preparedDescriptor(host);
  return new Promise((resolve) => {
    const bulk = new BulkSocket((onread) => {
      const made = { onread, allowHalfOpen: true, noDelay: true };
      if (descriptor === undefined) return new Socket(made);
      // A socket that is given its descriptor would read at once, and fail, as it is not connected.
      return new Socket({ ...made, fd: descriptor, readable: true, writable: true, manualStart: true } as object);
    });
    const { socket } = bulk;
    const deadline = deadlinesOf(clock, timeoutMs).after(() => {
      resolve(fail("APP_TIMEOUT", `${host}:${port}: no answer in ${timeoutMs} ms`));
      socket.destroy();
    });
    // Of an attempt that fails nothing but the close is heard, with the error before it.
    bulk.setSink({
      onBytes: () => false,
      onEnd: () => {},
      onClose: (failure) => {
        deadline.cancel();
        resolve(dialFailure(host, port, failure?.detail ?? "closed"));
      },
    });
    socket.on("connect", () => {
      deadline.cancel();
      processDescriptors.admit(bulk.descriptor);
      resolve(bulk);
    });
    // Without this the socket reads as soon as it is connected, before its user has set a sink.
    socket.pause();
    const where = { host, port, autoSelectFamily: false };
    socket.connect(localAddress === undefined ? where : { ...where, localAddress });
    // The runtime connects in its next tick, so that this is the one after.
    if (onDialling !== undefined) process.nextTick(() => onDialling(bulk));
  });
}

function dialFailure(host: string, port: number, code: string): Failure {
  const detail = `${host}:${port}: ${code}`;
  if (code === "EMFILE" || code === "ENFILE") {
    processDescriptors.exhausted();
    return fail("TOO_MANY_CONNECTIONS", detail);
  }
  if (code === "ECONNREFUSED" || code === "ECONNRESET") return fail("APP_REFUSED", detail);
  return fail(code === "ETIMEDOUT" ? "APP_TIMEOUT" : "APP_UNREACHABLE", detail);
}
