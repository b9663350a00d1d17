// Machine. An `http.Agent` whose connections go through the mesh. Idle ones are kept by destination, and only as long as this process is who
// it was when they began.
import { Agent, type AgentOptions, type ClientRequestArgs } from "node:http";
import type { Duplex } from "node:stream";
import { MeshSocket } from "./mesh-socket.ts";

/** What an agent stands on. */
export interface MeshAgentOptions {
  readonly connect: (to: { readonly host: string; readonly port: number }) => MeshSocket;
  readonly identityVersion: () => number;
  /** `http.AgentOptions`; connections are kept unless `keepAlive` is false. */
  readonly agent: AgentOptions;
}

const HTTP_PORT = 80;

/** See the head of the file. */
export class MeshAgent extends Agent {
  readonly #connect: MeshAgentOptions["connect"];
  readonly #identityVersion: () => number;
  #keeps = true;

  constructor({ connect, identityVersion, agent }: MeshAgentOptions) {
    super({ keepAlive: true, ...agent });
    this.#connect = connect;
    this.#identityVersion = identityVersion;
  }

  override createConnection(options: ClientRequestArgs): Duplex {
    const { host, port } = options;
    const socket = this.#connect({ host: host ?? "localhost", port: Number(port ?? HTTP_PORT) });
    // As of a `net.Socket`: one that the server has ended ends, or an idle one would be taken for the next request.
    socket.allowHalfOpen = false;
    return socket;
  }

  /** Node's own answer says whether the connection is kept; the type does not know that there is one. */
  override keepSocketAlive(socket: Duplex): boolean {
    const mayKeep = this.#keeps && socket instanceof MeshSocket && socket.identityVersion === this.#identityVersion();
    return mayKeep && (super.keepSocketAlive(socket) as unknown as boolean);
  }

  /** Ends idle connections that began as who this process no longer is. */
  identityChanged(): void {
    this.#endIdle((socket) => socket.identityVersion !== this.#identityVersion());
  }

  /** Keeps no connection from now on; requests go on. */
  drain(): void {
    this.#keeps = false;
    this.#endIdle(() => true);
  }

  #endIdle(which: (socket: MeshSocket) => boolean): void {
    for (const idle of Object.values(this.freeSockets)) {
      for (const socket of (idle ?? []) as readonly Duplex[]) {
        if (socket instanceof MeshSocket && which(socket)) socket.destroy();
      }
    }
  }
}
