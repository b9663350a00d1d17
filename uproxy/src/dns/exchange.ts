// Machine. One question to one resolver by UDP. Every exchange has a socket of its own, so that its port is random as well as
// its id (RFC 5452 section 9), connected, so that the kernel takes datagrams from the resolver alone and tells of a refusal.
import { createSocket } from "node:dgram";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort, ipFamily } from "@culvert/shared/net/ip.ts";
import { preparedDescriptor } from "@culvert/shared/net/prepared-dials.ts";
import { processMemory } from "@culvert/shared/net/memory.ts";
import { isReplyTo, type Query } from "./message.ts";

/** Datagrams that are no answer, after which somebody is guessing: the exchange ends, and the next has other numbers. */
const MOST_WRONG_REPLIES = 16;

/** What an exchange needs. */
export interface ExchangeOptions {
  readonly resolver: Endpoint;
  /** The request as it came. */
  readonly asked: Buffer;
  readonly query: Query;
  /** The id under which it is sent on; the reply comes back under the client's own. */
  readonly id: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Holds the address from which the request goes out, while it does. */
  readonly ownSources: Set<string>;
}

/** Sends a request and waits for its reply. Never rejects; fails with DNS_UPSTREAM_FAILED. */
export function exchange(options: ExchangeOptions): Promise<Buffer | Failure> {
  const { resolver, asked, query, id, timeoutMs, clock, ownSources } = options;
  const where = formatHostPort(resolver.ip, resolver.port);
  return new Promise((resolve) => {
    const socket = createSocket(ipFamily(resolver.ip) === 4 ? "udp4" : "udp6");
    let from: string | undefined;
    let wrong = 0;
    let isDone = false;
    const end = (outcome: Buffer | Failure): void => {
      if (isDone) return;
      isDone = true;
      deadline.cancel();
      if (from !== undefined) ownSources.delete(from);
      socket.close();
      processMemory.connectionEnded();
      resolve(outcome);
    };
    const failed = (why: string): void => end(fail("DNS_UPSTREAM_FAILED", `${where}: ${why}`));
    const deadline = clock.after(timeoutMs, () => failed(`no answer in ${timeoutMs} ms`));
    socket.on("error", (error: NodeJS.ErrnoException) => failed(error.code ?? error.message));
    socket.on("message", (reply) => {
      if (isReplyTo(reply, id, asked, query)) {
        reply.writeUInt16BE(query.id, 0);
        return end(reply);
      }
      wrong += 1;
      if (wrong >= MOST_WRONG_REPLIES) failed(`${wrong} replies to another question`);
    });
    const descriptor = preparedDescriptor(resolver.ip, "udp");
    if (descriptor !== undefined) socket.bind({ fd: descriptor });
    // An error of connecting comes as an event too.
    socket.connect(resolver.port, resolver.ip, (error?: Error) => {
      if (isDone || error !== undefined) return;
      const local = socket.address();
      from = formatHostPort(local.address, local.port);
      ownSources.add(from);
      const sent = Buffer.from(asked);
      sent.writeUInt16BE(id, 0);
      socket.send(sent, (sendError) => {
        if (sendError !== null) failed(sendError.message);
      });
    });
  });
}
