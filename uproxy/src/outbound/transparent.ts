// Machine. The listener for connections that a rule of the kernel has turned to this proxy (REDIRECT), or has handed to it with
// the address that the app wanted (TPROXY). Imported only where `outbound.transparent` is configured.
import type { CaptureConfig } from "@culvert/shared/config/process/process-config.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { acceptBulk, type BulkServer } from "@culvert/shared/net/accept-bulk.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort, ipFamily, parseIp } from "@culvert/shared/net/ip.ts";
import type { ListenAddress } from "@culvert/shared/net/listen-address.ts";
import { prepareDials } from "@culvert/shared/net/prepared-dials.ts";
import {
  loadSocketOptions,
  openPrepared,
  type SocketKind,
  type SocketOptions,
} from "@culvert/shared/net/socket-options.ts";
import type { ExplicitEvents } from "./explicit.ts";
import { LoopGuard } from "./loop-guard.ts";
import type { ClientAnswer, Outbound } from "./outbound.ts";

/** What capture needs of this process. Make it with `openCapture`. */
export class Capture {
  readonly loops: LoopGuard;
  readonly #sockets: SocketOptions;

  constructor(sockets: SocketOptions) {
    this.#sockets = sockets;
    this.loops = new LoopGuard(sockets);
  }

  /** Listens for captured connections: each goes where it was going. One that nothing is behind is reset. */
  async listen(address: ListenAddress, outbound: Outbound, events: ExplicitEvents): Promise<BulkServer | Failure> {
    const { host } = address;
    let { port } = address;
    const server = await acceptBulk({
      host,
      port,
      onAcceptError: events.onAcceptError,
      onSocket: (client) => {
        const original = this.#sockets.originalDestination(client);
        const refused = captureFailure(client, original, port, this.loops);
        if (refused === undefined) return carry(client, original, outbound);
        events.onRefused(client, refused);
        client.reset();
      },
    });
    if (isFailure(server)) return server;
    ({ port } = server.address);
    // TPROXY hands over connections to addresses of others only if we may have such; REDIRECT, the rule of `capture`, does
    // without, so that a refusal is no failure.
    const bound = parseIp(server.address.host);
    if (server.descriptor >= 0) this.#sockets.transparent(server.descriptor, bound === undefined ? 6 : ipFamily(bound));
    return server;
  }
}

/** Prepares capture. Fails, with a sentence, when this process could not do it, or its own connections would be captured. */
export async function openCapture({ exempt }: CaptureConfig): Promise<Capture | Failure> {
  const sockets = await loadSocketOptions();
  if (isFailure(sockets)) return sockets;
  const failure = exempt.kind === "mark" ? markDials(sockets, exempt.id) : exemptionFailure(exempt);
  return failure ?? new Capture(sockets);
}

function carry(client: BulkSocket, original: Endpoint, outbound: Outbound): void {
  // The app's connect() has already succeeded, so only a reset tells it that nothing was behind it.
  const answer: ClientAnswer = { granted: () => undefined, refused: () => client.reset() };
  void outbound.carry(client, { kind: "ip", ip: original.ip, port: original.port }, answer);
}

/** Why a connection must not be carried: nobody captured it, or we made it ourselves. */
function captureFailure(
  client: BulkSocket,
  original: Endpoint,
  ownPort: number,
  loops: LoopGuard,
): Failure | undefined {
  const { local } = client;
  const place = formatHostPort(original.ip, original.port);
  if (original.port === ownPort && original.ip === local.ip && local.port === ownPort) {
    return fail("SELF_CALL", `${place} is the listener for captured connections, and this one was not captured`);
  }
  if (!loops.isOwn(client, original)) return undefined;
  return fail("LOOP_DETECTED", `own connection to ${place} was captured: do capture.exempt and the rules agree?`);
}

/** Marks all packets of this process, after a look at whether it may. */
function markDials(sockets: SocketOptions, mark: number): Failure | undefined {
  const openMarked = (kind: SocketKind, family: 4 | 6): number | Failure =>
    openPrepared(sockets, kind, family, (descriptor) => sockets.mark(descriptor, mark));
  const first = openMarked("tcp", 4);
  if (isFailure(first)) return first;
  sockets.close(first);
  prepareDials(openMarked);
  return undefined;
}

/** The rules tell this process from the app by what it runs as; otherwise each connection that it makes would come back. */
function exemptionFailure({ kind, id }: CaptureConfig["exempt"]): Failure | undefined {
  const own = kind === "user" ? process.geteuid?.() : process.getegid?.();
  if (own === undefined || own === id) return undefined;
  return fail(
    "LOOP_DETECTED",
    `uproxy runs as ${kind} ${own}, but capture.exempt.${kind} is ${id}, so its own connections would be captured: ` +
      `run it as ${kind} ${id}, or set capture.exempt to what it runs as`,
  );
}
