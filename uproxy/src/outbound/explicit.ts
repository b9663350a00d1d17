// Machine. The explicit ways in: listeners that lead to one destination each, and the proxy port on which the app says
// where it wants to go (SOCKS5 or HTTP CONNECT, told apart by the first byte).
import type { ExplicitListener } from "@culvert/shared/config/process/process-config.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { acceptBulk, type BulkServer, type UnixBinding } from "@culvert/shared/net/accept-bulk.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import type { ListenAddress, UnixAddress } from "@culvert/shared/net/listen-address.ts";
import { releaseSlab } from "@culvert/shared/net/slabs.ts";
import { connectReply, readConnect } from "./http-connect.ts";
import { closedEarly, readMessage } from "./read-message.ts";
import type { ClientAnswer, Outbound } from "./outbound.ts";
import type { Destination } from "./hop.ts";
import {
  readGreeting,
  readSocksRequest,
  SOCKS_NO_ACCEPTABLE_METHOD,
  SOCKS_NO_AUTHENTICATION,
  SOCKS_VERSION,
  socksReply,
} from "./socks5.ts";

/** A client of the proxy port has to say where it wants to go within this. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A client that was refused has to close within this. */
const DISMISSAL_TIMEOUT_MS = 10_000;

/** Mode of the proxy port as a UNIX socket: the group may connect, so that proxy and app may be different users. */
const PROXY_SOCKET_MODE = 0o660;

/** What the explicit listeners report. */
export interface ExplicitEvents {
  /** A client never got as far as a destination. */
  readonly onRefused: (client: BulkSocket, failure: Failure) => void;
  /** A connection could not be accepted: the process is out of descriptors, and the like. */
  readonly onAcceptError: (failure: Failure) => void;
}

/** Where a listener leads. */
export function explicitDestination({ to: { host, port } }: ExplicitListener): Destination {
  const ip = parseIp(host);
  return ip === undefined ? { kind: "name", host, port } : { kind: "ip", ip, port };
}

/** Listens on an explicit listener: every connection leads to `listener.to`. */
export async function listenExplicit(
  listener: ExplicitListener,
  outbound: Outbound,
  clock: Clock,
  events: ExplicitEvents,
): Promise<BulkServer | Failure> {
  const destination = explicitDestination(listener);
  const carry = (client: BulkSocket): void => {
    // The client's connect() has already succeeded, so only a reset tells it that nothing was behind it.
    const answer: ClientAnswer = { granted: () => undefined, refused: () => client.reset() };
    void outbound.carry(client, destination, answer);
  };
  const takeHeader = listener.proxyProtocol && (await import("./proxied.ts")).takeProxyHeader;
  const carryProxied = async (client: BulkSocket): Promise<void> => {
    const failure = await takeHeader?.(client, clock);
    if (failure === undefined) return carry(client);
    events.onRefused(client, failure);
    client.reset();
  };
  return acceptBulk({
    ...(await placeOf(listener.listen, listener.mode)),
    onAcceptError: events.onAcceptError,
    onSocket: takeHeader === undefined ? carry : (client) => void carryProxied(client),
  });
}

/** Listens on the proxy port. */
export async function listenProxy(
  address: ListenAddress | UnixAddress,
  outbound: Outbound,
  clock: Clock,
  events: ExplicitEvents,
): Promise<BulkServer | Failure> {
  return acceptBulk({
    ...(await placeOf(address, PROXY_SOCKET_MODE)),
    onAcceptError: events.onAcceptError,
    onSocket: (client) => void serveProxyClient(client, outbound, clock, events.onRefused),
  });
}

/** Where to listen; what binds UNIX sockets is loaded by the first of them. */
async function placeOf(
  address: ListenAddress | UnixAddress,
  mode: number,
): Promise<ListenAddress | { readonly unix: UnixBinding }> {
  if (address.kind === "tcp") return address;
  const { unixBinding } = await import("@culvert/shared/net/unix-socket.ts");
  return { unix: unixBinding(address.path, mode) };
}

async function serveProxyClient(
  client: BulkSocket,
  outbound: Outbound,
  clock: Clock,
  onRefused: (client: BulkSocket, failure: Failure) => void,
): Promise<void> {
  const deadline = clock.after(HANDSHAKE_TIMEOUT_MS, () => client.reset());
  const asked = await readDestination(client);
  deadline.cancel();
  if (isFailure(asked)) {
    onRefused(client, asked);
    dismiss(client, clock);
    return;
  }
  const { destination, reply } = asked;
  const answer: ClientAnswer = {
    granted: () => void client.write(reply(undefined)),
    refused: (failure) => {
      client.write(reply(failure));
      dismiss(client, clock);
    },
  };
  await outbound.carry(client, destination, answer);
}

interface Asked {
  readonly destination: Destination;
  readonly reply: (failure: Failure | undefined) => Buffer;
}

async function readDestination(client: BulkSocket): Promise<Asked | Failure> {
  const first = await client.read();
  if (first === undefined || isFailure(first)) return first ?? closedEarly();
  client.unread(first);
  const socks = first[0] === SOCKS_VERSION;
  // Neither SOCKS5 nor the letter of a method: nothing that may still come would make sense of it.
  if (!socks && !/^[A-Z]/.test(first.toString("latin1", 0, 1))) {
    return answered(
      client,
      connectReply,
      fail("PROXY_REQUEST_MALFORMED", `first byte ${first[0]}, expected CONNECT or 5`),
    );
  }
  if (socks) {
    const greeting = await readMessage(client, readGreeting);
    if (isFailure(greeting)) return greeting;
    if (!greeting) {
      client.write(SOCKS_NO_ACCEPTABLE_METHOD);
      return fail("PROXY_REQUEST_MALFORMED", "the SOCKS client offers no method without authentication");
    }
    client.write(SOCKS_NO_AUTHENTICATION);
  }
  const reply = socks ? socksReply : connectReply;
  const destination = await readMessage(client, socks ? readSocksRequest : readConnect);
  return isFailure(destination) ? answered(client, reply, destination) : { destination, reply };
}

function answered(client: BulkSocket, reply: Asked["reply"], failure: Failure): Failure {
  client.write(reply(failure));
  return failure;
}

/**
 * Ends a client that comes to nothing: our FIN follows what was written, and what the client still sends is read and thrown
 * away, because a reset for unread bytes could overtake the answer.
 */
function dismiss(client: BulkSocket, clock: Clock): void {
  const deadline = clock.after(DISMISSAL_TIMEOUT_MS, () => client.reset());
  client.setSink({
    onBytes: (_chunk, slab) => {
      if (slab !== undefined) releaseSlab(slab);
      return true;
    },
    onEnd: () => undefined,
    onClose: () => deadline.cancel(),
  });
  client.end();
  client.resume();
}
