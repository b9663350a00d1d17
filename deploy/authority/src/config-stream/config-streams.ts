// Machine. The configuration stream: who may have what of the mesh, each change to those whom it concerns, and bounds on what any caller
// may ask for. The protocol is in `shared/src/config/stream/frames.ts`.
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { setImmediate as turn } from "node:timers/promises";
import { destinationScope } from "@culvert/shared/config/scope/destination-scope.ts";
import { ownScope } from "@culvert/shared/config/scope/own-scope.ts";
import type { ResourceIndex } from "@culvert/shared/config/scope/resource-index.ts";
import type { Scope } from "@culvert/shared/config/scope/walk.ts";
import { isInstance, waypointScope } from "@culvert/shared/config/scope/waypoint-scope.ts";
import type { ClientFrame, Hello } from "@culvert/shared/config/stream/frames.ts";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { workloadOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { TokenBucket } from "@culvert/shared/net/token-bucket.ts";
import type { Caller } from "../proof/proof.ts";
import { byCertificate } from "../proof/prover.ts";
import type { AuthorityLimits } from "../serve/authority-limits.ts";
import { ConfigClient } from "./config-client.ts";
import type { ClientFacts } from "./config-client.ts";
import type { ConfigEvents } from "./config-events.ts";
import { ConfigLine, HeldBytes } from "./config-line.ts";
import type { MeshChange } from "./mesh.ts";
import type { WatchedMesh } from "./watched-mesh.ts";
import { SharedScopes } from "./shared-scopes.ts";

export interface ConfigStreamsOptions {
  readonly trustDomain: () => TrustDomain;
  readonly source: Pick<WatchedMesh, "mesh" | "isUsable">;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  readonly events: ConfigEvents;
}

/** Key of the scope that every client has. */
const OWN = "own";
/** Scopes that are worked out, and clients that are served, before others get a turn: some milliseconds. */
const PER_TURN = 16;
/** How often clients that do not answer are looked for. */
const TICK_MS = 5_000;

/** One stream, from its head to its end. */
interface Open {
  readonly line: ConfigLine;
  readonly client: ConfigClient;
  readonly keys: TokenBucket;
}

/** See the head of the file. */
export class ConfigStreams {
  readonly #options: ConfigStreamsOptions;
  readonly #scopes: SharedScopes;
  readonly #held = new HeldBytes();
  readonly #lines = new Set<ConfigLine>();
  /** Clients that may have something to be told. */
  readonly #due = new Set<ConfigClient>();
  readonly #open = new Map<ConfigClient, Open>();
  readonly #tick: Timer;
  /** Changes that are being worked out: until they are, nobody is told half of them. */
  #settling = 0;
  #changes: Promise<void> = Promise.resolve();
  #draining = false;

  constructor(options: ConfigStreamsOptions) {
    this.#options = options;
    this.#scopes = new SharedScopes(options.source.mesh.index);
    this.#tick = options.clock.every(TICK_MS, () => this.#endSilent());
  }

  /** Clients that have said hello. */
  get size(): number {
    return this.#open.size;
  }

  /** Scopes that are kept up. */
  get scopes(): number {
    return this.#scopes.size;
  }

  /** What is known of each client. */
  clients(): readonly ClientFacts[] {
    return [...this.#open.keys()].map((client) => client.facts());
  }

  /** The mesh has changed; settles when all whom it concerns have been told, or will be with their next update. */
  changed({ topics, ids }: MeshChange): Promise<void> {
    this.#settling += 1;
    this.#changes = this.#afterOthers(topics, ids);
    return this.#changes;
  }

  /** Serves one call, whatever it sends. */
  serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, caller: Caller): void {
    const { limits, clock, events } = this.#options;
    const line = new ConfigLine(stream, clock, limits, this.#held);
    this.#lines.add(line);
    stream.once("close", () => this.#lines.delete(line));
    const id = this.#admit(headers, caller);
    if (isFailure(id)) {
      events.refused(caller.remote, undefined, id);
      return line.end(id);
    }
    let open: Open | undefined;
    line.onFrame = (frame) => {
      if (open === undefined) {
        const opened =
          frame.kind === "hello" ? this.#hello(line, id, caller.remote, frame) : unexpected("hello", frame);
        if (isFailure(opened)) return this.#refuse(line, caller.remote, id, opened);
        open = opened;
        return void this.#send(open);
      }
      const failure = this.#take(open, frame);
      if (failure !== undefined) return this.#refuse(line, caller.remote, id, failure);
      this.#send(open);
    };
    line.onBroken = (failure) => this.#refuse(line, caller.remote, id, failure);
    stream.once("close", () => {
      if (open !== undefined) this.#close(open);
    });
    line.start();
  }

  /** Ends every stream; who comes later is refused. */
  drain(): void {
    this.#draining = true;
    this.#tick.cancel();
    for (const line of this.#lines) line.end(shuttingDown());
  }

  /** Who calls, if it may at all. */
  #admit(headers: IncomingHttpHeaders, caller: Caller): SpiffeId | Failure {
    const { source, trustDomain, limits } = this.#options;
    if (headers[":method"] !== "POST") return fail("MISBEHAVING_PEER", "the method is not POST");
    if (this.#draining) return shuttingDown();
    if (caller.certificate === undefined) return fail("PROOF_MISSING", "no client certificate");
    if (isFailure(caller.certificate)) return caller.certificate;
    const proof = byCertificate(caller.certificate, trustDomain());
    if (isFailure(proof)) return proof;
    if (!source.isUsable) return fail("CONFIGURATION_UNAVAILABLE", "the authority has no usable resources yet");
    if (this.#lines.size > limits.maxSessions) return fail("RATE_EXCEEDED", `${limits.maxSessions} streams`);
    return proof.id;
  }

  #hello(
    line: ConfigLine,
    id: SpiffeId,
    remote: string,
    { hello, subscribe }: ClientFrame & { readonly kind: "hello" },
  ): Open | Failure {
    const { source, clock, limits, events } = this.#options;
    const gateway = gatewayOf(hello);
    if (gateway !== undefined && !isInstance(source.mesh.index, gateway, id)) {
      return fail("IMPERSONATION_REFUSED", `${id} is no instance of Gateway ${hello.gateway}`);
    }
    const client = new ConfigClient({
      id,
      remote,
      hello,
      mesh: source.mesh,
      onConcerned: (each) => void this.#due.add(each),
      now: () => clock.monotonic(),
    });
    const keys = new TokenBucket(clock, limits.subscriptionBurst, limits.subscriptionsPerSecond);
    const open = { line, client, keys };
    const own = ownOf(id, hello);
    client.hold(OWN, this.#scopes.acquire(own.key, client, own.work), false);
    this.#open.set(client, open);
    const failure = this.#subscribe(open, subscribe, []);
    if (failure !== undefined) {
      this.#close(open);
      return failure;
    }
    events.connected(client);
    return open;
  }

  #take(open: Open, frame: ClientFrame): Failure | undefined {
    const { events } = this.#options;
    const { client } = open;
    if (frame.kind === "subscribe") return this.#subscribe(open, frame.subscribe, frame.unsubscribe);
    if (frame.kind === "hello") return unexpected("no second hello", frame);
    const isTaken = frame.kind === "ack";
    const outcome = isTaken ? client.acknowledge(frame.nonce) : client.refuse(frame.nonce, frame.problems);
    if (outcome === undefined) return unexpected("the nonce in flight", frame);
    if (isTaken) events.acknowledged(client, outcome);
    else events.nacked(client, outcome, frame.problems);
    return undefined;
  }

  #subscribe(
    { client, keys }: Open,
    subscribe: readonly string[],
    unsubscribe: readonly string[],
  ): Failure | undefined {
    const { maxSubscriptions, maxScopes } = this.#options.limits;
    const namespace = workloadOf(client.id)?.namespace ?? "";
    for (const key of unsubscribe) this.#drop(client, key);
    for (const key of subscribe) {
      if (client.scopes.has(key)) continue;
      if (client.scopes.size > maxSubscriptions) return fail("RATE_EXCEEDED", `${maxSubscriptions} subscriptions`);
      if (this.#scopes.size >= maxScopes) return fail("RATE_EXCEEDED", `${maxScopes} destinations in the mesh`);
      if (!keys.take()) return fail("RATE_EXCEEDED", "subscriptions come too often");
      const shared = `${namespace} ${key}`;
      client.hold(
        key,
        this.#scopes.acquire(shared, client, (index) => destinationScope(index, namespace, key)),
        true,
      );
    }
    return undefined;
  }

  #drop(client: ConfigClient, key: string): void {
    const scope = client.scopes.get(key);
    if (scope === undefined || key === OWN) return;
    this.#scopes.release(scope, client);
    client.drop(key);
  }

  /** A waypoint is one as long as it is an instance. */
  #mayStay({ line, client }: Open): boolean {
    const gateway = client.gateway;
    if (gateway === undefined || isInstance(this.#options.source.mesh.index, gateway, client.id)) return true;
    const failure = fail("IMPERSONATION_REFUSED", `${client.id} is no longer an instance of its Gateway`);
    this.#refuse(line, client.remote, client.id, failure);
    return false;
  }

  /** Sends the next update, if there is one and the mesh is whole; answers whether. */
  #send({ line, client }: Open): boolean {
    if (line.isOver) return false;
    if (this.#settling > 0) {
      this.#due.add(client);
      return false;
    }
    this.#due.delete(client);
    const messages = client.next();
    if (messages === undefined) return false;
    line.send(messages);
    return true;
  }

  async #afterOthers(topics: ReadonlySet<string>, ids: ReadonlySet<string>): Promise<void> {
    await this.#changes;
    const scopes = this.#scopes.changed(topics, ids);
    for (let steps = 1; scopes.next().done !== true; steps += 1) if (steps % PER_TURN === 0) await turn();
    this.#settling -= 1;
    if (this.#settling > 0) return;
    let told = 0;
    for (const client of this.#due) {
      this.#due.delete(client);
      const open = this.#open.get(client);
      if (open === undefined || !this.#mayStay(open)) continue;
      this.#send(open);
      told += 1;
      if (told % PER_TURN === 0) await turn();
    }
  }

  #endSilent(): void {
    const { limits } = this.#options;
    for (const { line, client } of this.#open.values()) {
      if (client.waitingMs < limits.acknowledgeMs) continue;
      const failure = fail("RATE_EXCEEDED", `an update has had no answer for ${limits.acknowledgeMs / 1000} s`);
      this.#refuse(line, client.remote, client.id, failure);
    }
  }

  #refuse(line: ConfigLine, remote: string, id: SpiffeId, failure: Failure): void {
    if (line.isOver) return;
    this.#options.events.refused(remote, id, failure);
    line.end(failure);
  }

  #close({ client }: Open): void {
    if (!this.#open.delete(client)) return;
    this.#due.delete(client);
    for (const scope of client.scopes.values()) this.#scopes.release(scope, client);
    this.#options.events.disconnected(client);
  }
}

/** The scope that a client has without asking. */
function ownOf(id: SpiffeId, hello: Hello): { readonly key: string; readonly work: (index: ResourceIndex) => Scope } {
  const gateway = gatewayOf(hello);
  if (gateway !== undefined) {
    return { key: `waypoint ${gateway.namespace}/${gateway.name}`, work: (index) => waypointScope(index, gateway) };
  }
  const addresses = hello.addresses.map(parseIp).filter((ip) => ip !== undefined);
  const hints = { workload: hello.workload, addresses };
  return { key: `own ${id} ${JSON.stringify(hints)}`, work: (index) => ownScope(index, id, hints) };
}

function gatewayOf({ proxy, gateway }: Hello): { readonly namespace: string; readonly name: string } | undefined {
  if (proxy !== "waypoint") return undefined;
  const [namespace = "", name = ""] = (gateway ?? "").split("/", 2);
  return { namespace, name };
}

function unexpected(expected: string, { kind }: ClientFrame): Failure {
  return fail("MISBEHAVING_PEER", `expected ${expected}, found ${kind}`);
}

function shuttingDown(): Failure {
  return fail("DRAINING", "the authority is shutting down");
}
