// Machine. Binds a UNIX socket: never over a file that is something else, nor over a socket on which somebody answers.
import { lstatSync, renameSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import type { Server } from "node:net";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { BoundAddress } from "./bind.ts";
import type { UnixBinding } from "./accept-bulk.ts";
import { processListeners } from "./listeners.ts";

/** The same as for TCP, see `bind.ts`. */
const BACKLOG = 4096;

/**
 * A socket at `path` with exactly `mode`. A file that a dead process has left there is replaced, and the own file is
 * removed when the server closes. Fails with PORT_UNAVAILABLE.
 */
export function unixBinding(path: string, mode: number): UnixBinding {
  return { path, bind: (server, onAcceptError) => bindUnix(server, path, mode, onAcceptError) };
}

async function bindUnix(
  server: Server,
  path: string,
  mode: number,
  onAcceptError: (failure: Failure) => void,
): Promise<BoundAddress | Failure> {
  const refused = await refusal(path);
  if (refused !== undefined) return refused;
  // Bound beside its place and moved there: who connects meanwhile finds the old file or the new one, never none.
  const fresh = `${path}.${process.pid}`;
  rmSync(fresh, { force: true });
  const bound = await listen(server, fresh, mode);
  if (isFailure(bound)) return bound;
  try {
    renameSync(fresh, path);
    const { ino } = lstatSync(path);
    server.once("close", () => {
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
    });
  } catch (error) {
    server.close();
    return unavailable(path, error);
  }
  server.on("error", (error: NodeJS.ErrnoException) => {
    onAcceptError(fail("TOO_MANY_CONNECTIONS", error.code ?? error.message));
  });
  processListeners.add(server, true);
  return { host: `unix:${path}`, port: 0 };
}

/** Why the place cannot be taken; `undefined` when nothing is there, or a socket that nobody listens on. */
async function refusal(path: string): Promise<Failure | undefined> {
  try {
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there === undefined) return undefined;
    if (!there.isSocket()) return unavailable(path, "a file that is no socket is there");
  } catch (error) {
    return unavailable(path, error);
  }
  // It is renamed away under the process that is to be taken over from, which keeps what is in its queue.
  if (processListeners.beside) return undefined;
  const answer = await probe(path);
  return answer === "ECONNREFUSED" || answer === "ENOENT"
    ? undefined
    : unavailable(path, answer === "" ? "another process listens on it" : answer);
}

/** Asks whether somebody listens: the empty string, or the system's code. */
function probe(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = new Socket();
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.once("connect", () => {
      resolve("");
      socket.destroy();
    });
    socket.connect({ path });
  });
}

function listen(server: Server, path: string, mode: number): Promise<undefined | Failure> {
  return new Promise((resolve) => {
    server.once("error", (error) => resolve(unavailable(path, error)));
    // The file is made within this call, so nobody ever finds it with more rights than `mode` gives.
    const before = process.umask(0o777 & ~mode);
    try {
      server.listen({ path, backlog: BACKLOG }, () => {
        server.removeAllListeners("error");
        resolve(undefined);
      });
    } finally {
      process.umask(before);
    }
  });
}

function unavailable(path: string, why: unknown): Failure {
  const text = why instanceof Error ? ((why as NodeJS.ErrnoException).code ?? why.message) : String(why);
  return fail("PORT_UNAVAILABLE", `cannot listen on unix:${path}: ${text}`);
}
