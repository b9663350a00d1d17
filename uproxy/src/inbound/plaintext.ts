// Machine. Captured plaintext to app, one connection at a time, in phases: what did it want, is that ours, register, decide
// without an identity, dial, carry, report. Import it by `await import`, where it is configured.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { acceptBulk, type BulkServer } from "@culvert/shared/net/accept-bulk.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import type { ListenAddress } from "@culvert/shared/net/listen-address.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import type { LiveConnection } from "../connection/connections.ts";
import { relay } from "../connection/relay.ts";
import type { ConnectionReport } from "../connection/report.ts";
import type { UproxyState } from "../state.ts";
import { capturedTarget, type InboundTarget } from "./inbound-target.ts";
import type { AppOptions } from "./inbound.ts";
import { reachApp } from "./reach-app.ts";

/** What `listenPlaintext` stands on. */
export interface PlaintextOptions extends AppOptions {
  readonly listen: ListenAddress;
  /** Where a connection wanted to go before it was turned to us. */
  readonly originalDestination: (client: BulkSocket) => Endpoint;
  /** A connection could not be accepted. */
  readonly onAcceptError: (failure: Failure) => void;
}

/** Serves the connections that capture turns to `listen`. */
export function listenPlaintext(options: PlaintextOptions): Promise<BulkServer | Failure> {
  const plaintext = new Plaintext(options);
  return acceptBulk({
    host: options.listen.host,
    port: options.listen.port,
    onAcceptError: options.onAcceptError,
    onSocket: (client) => void plaintext.serve(client),
  });
}

class Plaintext {
  readonly #options: PlaintextOptions;
  #count = 0;

  constructor(options: PlaintextOptions) {
    this.#options = options;
  }

  /** Serves one connection to its end; never throws or rejects. */
  async serve(client: BulkSocket): Promise<void> {
    const { state, connections, clock, app, limits, originalDestination } = this.#options;
    const now = state();
    const wanted = originalDestination(client);
    const target =
      this.#count < limits.maxPlaintext
        ? capturedTarget(now, wanted, app)
        : fail("TOO_MANY_CONNECTIONS", `${this.#count} plaintext connections`);
    const facts: ConnectionFacts | undefined = isFailure(target)
      ? undefined
      : {
          principal: undefined,
          sourceIp: client.remote.ip,
          destinationIp: target.ip,
          destinationPort: target.port,
        };
    // Registered before the decision: a policy that changes while the app is dialled finds the connection here.
    const connection = connections.register({
      direction: "inbound",
      facts,
      source: client.source,
      destination: formatHostPort(wanted.ip, wanted.port),
      startedAt: clock.monotonic(),
    });
    connection.onEnd(() => client.reset());
    this.#count += 1;
    const report = this.#report(client, connection, now);
    const failure =
      isFailure(target) || facts === undefined
        ? (target as Failure)
        : await this.#carry(client, connection, now, target, facts, report);
    // The caller's connect() has already succeeded, so only a reset tells it that it was refused.
    if (failure !== undefined && connection.bytes === undefined) client.reset();
    this.#count -= 1;
    connections.release(connection);
    report.end(connection.ended ?? failure);
  }

  /** From the decision to the last byte; the failure that ended it, if one did. */
  async #carry(
    client: BulkSocket,
    connection: LiveConnection,
    state: UproxyState,
    target: InboundTarget,
    facts: ConnectionFacts,
    report: ConnectionReport,
  ): Promise<Failure | undefined> {
    const { limits, introduce, introducedTo } = this.#options;
    const app = await reachApp(this.#options, state, target, facts, report);
    if (isFailure(app)) return app;
    if (connection.ended !== undefined || client.destroyed) {
      app.reset();
      return connection.ended ?? fail("DOWNSTREAM_CLOSED", "the caller left while the app was dialled");
    }
    report.opened();
    if (introduce !== undefined && introducedTo.has(target.port)) {
      const { remote: source } = client;
      app.write(introduce({ source, destination: target.asked, identity: undefined, service: undefined }));
    }
    const running = relay(client, app, limits.streamQueue);
    // Of an inbound connection the app's side is counted, and here the relay counts the caller's.
    connection.bytes = {
      get fromSocket() {
        return running.toSocket;
      },
      get toSocket() {
        return running.fromSocket;
      },
    };
    connection.onEnd((reason) => running.abort(reason));
    return (await running.ended).failure;
  }

  #report(client: BulkSocket, connection: LiveConnection, state: UproxyState): ConnectionReport {
    return this.#options.reporter.open({
      connection,
      ownId: state.id,
      peerId: undefined,
      // Who has this address, as far as the resources know: a label, not a proof.
      sourceWorkload: state.snapshot.directory.workloadsAt(client.remote.ip)[0],
      destinationWorkload: isFailure(state.workload) ? undefined : state.workload,
      service: undefined,
      hboneAddress: undefined,
      destinationAddress: connection.info.destination,
    });
  }
}
