// Machine. Sends odd requests over a connection each, and tells what came back: statuses, or that nothing did.
import { connect } from "node:net";
import { parseMessage, statusOf } from "../../support/http-message.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import type { OddRequest } from "./odd-requests.ts";

/** Connections at once. */
const CONNECTIONS = 16;
/** After the last byte of a request that is whole, how long its answer may take. */
const QUIET_MS = 15_000;
/** How long a request waits to be asked for its body. */
const CONTINUE_MS = 10_000;

/** What a client saw: `200`, `200 200`, `100 200`, `closed`, `nothing`. */
export type Heard = string;

/** Sends all of them to a proxy. */
export async function sendAll(
  host: string,
  port: number,
  requests: readonly OddRequest[],
): Promise<ReadonlyMap<number, Heard>> {
  const heard = new Map<number, Heard>();
  const left = [...requests];
  const line = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      heard.set(next.number, await send(host, port, next));
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, line));
  return heard;
}

function send(host: string, port: number, request: OddRequest): Promise<Heard> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, noDelay: true });
    const statuses: string[] = [];
    let bytes = Buffer.alloc(0);
    let finals = 0;
    let waits = request.draft.waits === true;
    const finish = (how: string): void => {
      timer.cancel();
      socket.destroy();
      resolve([...statuses, ...(finals < request.answers ? [how] : [])].join(" "));
    };
    let timer = systemClock.after(QUIET_MS, () => finish("nothing"));
    const sendRest = (): void => {
      waits = false;
      socket.write(request.rest, "latin1");
    };
    socket.on("connect", () => {
      socket.write(request.head, "latin1");
      if (waits) timer = later(timer, CONTINUE_MS, sendAnyway);
      else sendRest();
    });
    const sendAnyway = (): void => {
      statuses.push("unasked");
      sendRest();
      timer = systemClock.after(QUIET_MS, () => finish("nothing"));
    };
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      const bodiless = request.draft.method === "HEAD" && finals === 0;
      for (let parsed = parseMessage(bytes, { bodiless }); parsed !== undefined; parsed = parseMessage(bytes)) {
        bytes = bytes.subarray(parsed.length);
        const status = statusOf(parsed.message.head) ?? 0;
        statuses.push(String(status));
        if (status === 100 && waits) {
          timer = later(timer, QUIET_MS, () => finish("nothing"));
          sendRest();
        }
        if (status >= 200) finals += 1;
      }
      if (finals >= request.answers) finish("");
    });
    socket.on("end", () => {
      // An answer without any framing ends so.
      const last = parseMessage(bytes, { ended: true });
      if (last !== undefined) {
        statuses.push(String(statusOf(last.message.head)));
        finals += 1;
      }
      finish("closed");
    });
    socket.on("error", () => finish("closed"));
  });
}

function later(timer: { cancel(): void }, ms: number, then: () => void): { cancel(): void } {
  timer.cancel();
  return systemClock.after(ms, then);
}
