// Machine. One call of the configuration stream, from its head to its end: hello, subscriptions within their limits, and what the client
// makes of each update. What breaks the rules ends it.
import { destinationScope } from "@culvert/shared/config/scope/destination-scope.ts";
import { ownScope } from "@culvert/shared/config/scope/own-scope.ts";
import type { ResourceIndex } from "@culvert/shared/config/scope/resource-index.ts";
import type { Scope } from "@culvert/shared/config/scope/walk.ts";
import { isInstance, waypointScope } from "@culvert/shared/config/scope/waypoint-scope.ts";
import type { ClientFrame, Hello } from "@culvert/shared/config/stream/frames.ts";
import { fail } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { workloadOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import { TokenBucket } from "@culvert/shared/net/token-bucket.ts";
import type { WaypointRef } from "@culvert/shared/workload/workload.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import { ConfigClient } from "./config-client.ts";
import type { ClientFacts } from "./config-client.ts";
import type { ConfigEvents } from "./config-events.ts";
import type { ConfigLine } from "./config-line.ts";
import type { Mesh } from "./mesh.ts";
import type { SharedScopes } from "./shared-scopes.ts";

/** What every call stands on. */
export interface CallNeeds {
  readonly mesh: Mesh;
  readonly scopes: SharedScopes;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  readonly events: ConfigEvents;
}

/** Who keeps the calls, and knows when each may be told what is new. */
export interface CallKeeper {
  /** It has said hello. */
  opened(call: ConfigCall): void;
  /** Something that it wants has changed. */
  concerned(call: ConfigCall): void;
  /** It has taken something in, and listens. */
  ready(call: ConfigCall): void;
  /** It is gone, after it had been opened. */
  closed(call: ConfigCall): void;
}

/** See the head of the file. */
export class ConfigCall {
  readonly #needs: CallNeeds;
  readonly #keeper: CallKeeper;
  readonly #line: ConfigLine;
  readonly #id: SpiffeId;
  /** Who asks for the same from one namespace shares it. */
  readonly #namespace: string;
  readonly #remote: string;
  /** How often it may ask for destinations. */
  readonly #asking: TokenBucket;
  #client: ConfigClient | undefined;
  /** The Gateway whose instance it is; undefined for a uproxy. */
  #gateway: WaypointRef | undefined;

  /** @param id who its certificate has proved the client to be */
  constructor(line: ConfigLine, id: SpiffeId, remote: string, needs: CallNeeds, keeper: CallKeeper) {
    const { limits, clock } = needs;
    this.#needs = needs;
    this.#keeper = keeper;
    this.#line = line;
    this.#id = id;
    this.#namespace = workloadOf(id)?.namespace ?? "";
    this.#remote = remote;
    this.#asking = new TokenBucket(clock, limits.subscriptionBurst, limits.subscriptionsPerSecond);
    line.onFrame = (frame) => this.#take(frame);
    line.onBroken = (failure) => this.refuse(failure);
  }

  /** What is known of its client, once it has said hello. */
  get facts(): ClientFacts | undefined {
    return this.#client?.facts();
  }

  /** Milliseconds that an update has waited for its answer; 0 when none does. */
  get waitingMs(): number {
    return this.#client?.waitingMs ?? 0;
  }

  /** Sends the next update, if there is one. */
  send(): void {
    if (this.#line.isOver) return;
    const parts = this.#client?.next();
    if (parts !== undefined) this.#line.send(parts);
  }

  /** IMPERSONATION_REFUSED when it is an instance of its Gateway no longer. */
  get unfit(): Failure | undefined {
    const gateway = this.#gateway;
    if (gateway === undefined || isInstance(this.#needs.mesh.index, gateway, this.#id)) return undefined;
    return fail("IMPERSONATION_REFUSED", `${this.#id} is no longer an instance of its Gateway`);
  }

  /** Ends it with the status of a failure, which the operator is told. */
  refuse(failure: Failure): void {
    if (this.#line.isOver) return;
    this.#needs.events.refused(this.#remote, this.#id, failure);
    this.#line.end(failure);
  }

  /** Gives back what its client held; the line is over. */
  close(): void {
    const client = this.#client;
    if (client === undefined) return;
    this.#client = undefined;
    for (const scope of client.scopes()) this.#needs.scopes.release(scope, client);
    this.#keeper.closed(this);
    this.#needs.events.disconnected(client);
  }

  #take(frame: ClientFrame): void {
    const client = this.#client;
    const failure = client === undefined ? this.#hello(frame) : this.#next(client, frame);
    if (failure !== undefined) return this.refuse(failure);
    this.#keeper.ready(this);
  }

  #hello(frame: ClientFrame): Failure | undefined {
    const { mesh, scopes, clock, events } = this.#needs;
    if (frame.kind !== "hello") return unexpected("hello", frame);
    const { hello, subscribe } = frame;
    const gateway = gatewayOf(hello);
    if (gateway !== undefined && !isInstance(mesh.index, gateway, this.#id)) {
      return fail("IMPERSONATION_REFUSED", `${this.#id} is no instance of Gateway ${hello.gateway}`);
    }
    const client = new ConfigClient({
      id: this.#id,
      remote: this.#remote,
      hello,
      mesh,
      onConcerned: () => this.#keeper.concerned(this),
      now: () => clock.monotonic(),
    });
    const own = ownOf(this.#id, hello, gateway);
    client.hold(scopes.acquire(own.key, this.#namespace, client, own.work));
    this.#client = client;
    this.#gateway = gateway;
    this.#keeper.opened(this);
    const failure = this.#subscribe(client, subscribe, []);
    if (failure === undefined) events.connected(client);
    else this.close();
    return failure;
  }

  #next(client: ConfigClient, frame: ClientFrame): Failure | undefined {
    const { events } = this.#needs;
    if (frame.kind === "hello") return unexpected("no second hello", frame);
    if (frame.kind === "subscribe") return this.#subscribe(client, frame.subscribe, frame.unsubscribe);
    // Whoever answers what it has not read would have one update after another wait for it here.
    if (!this.#line.isIdle) return unexpected("an answer to what has been sent whole", frame);
    const { nonce } = frame;
    const outcome = frame.kind === "ack" ? client.acknowledge(nonce) : client.refuse(nonce, frame.problems);
    if (outcome === undefined) return unexpected("the nonce in flight", frame);
    if (frame.kind === "ack") events.acknowledged(client, outcome);
    else events.nacked(client, outcome, frame.problems);
    return undefined;
  }

  #subscribe(client: ConfigClient, subscribe: readonly string[], unsubscribe: readonly string[]): Failure | undefined {
    const { scopes, limits } = this.#needs;
    const { maxSubscriptions, maxScopes, maxScopesPerNamespace } = limits;
    const namespace = this.#namespace;
    for (const key of unsubscribe) {
      const scope = client.unsubscribe(key);
      if (scope !== undefined) scopes.release(scope, client);
    }
    for (const key of subscribe) {
      if (client.isSubscribed(key)) continue;
      if (client.subscriptions >= maxSubscriptions) return fail("RATE_EXCEEDED", `${maxSubscriptions} subscriptions`);
      if (!this.#asking.take()) return fail("RATE_EXCEEDED", "subscriptions come too often");
      const shared = `${namespace} ${key}`;
      // What somebody of the namespace has asked for already costs nothing.
      if (!scopes.has(shared)) {
        if (scopes.size >= maxScopes) return fail("RATE_EXCEEDED", `${maxScopes} destinations in the mesh`);
        if (scopes.sizeOf(namespace) >= maxScopesPerNamespace) {
          return fail("RATE_EXCEEDED", `${maxScopesPerNamespace} destinations of ${namespace}`);
        }
      }
      const work = (index: ResourceIndex): Scope => destinationScope(index, namespace, key);
      client.subscribe(key, scopes.acquire(shared, namespace, client, work));
    }
    return undefined;
  }
}

/** The scope that a client has without asking, and the key under which all who have the same one share it. */
function ownOf(
  id: SpiffeId,
  hello: Hello,
  gateway: WaypointRef | undefined,
): { readonly key: string; readonly work: (index: ResourceIndex) => Scope } {
  if (gateway !== undefined) {
    return { key: `waypoint ${gateway.namespace}/${gateway.name}`, work: (index) => waypointScope(index, gateway) };
  }
  const addresses = hello.addresses.map(parseIp).filter((ip) => ip !== undefined);
  const hints = { workload: hello.workload, addresses };
  return { key: `own ${id} ${JSON.stringify(hints)}`, work: (index) => ownScope(index, id, hints) };
}

function gatewayOf({ proxy, gateway = "" }: Hello): WaypointRef | undefined {
  if (proxy !== "waypoint") return undefined;
  const [namespace = "", name = ""] = gateway.split("/", 2);
  return { namespace, name };
}

function unexpected(expected: string, { kind }: ClientFrame): Failure {
  return fail("MISBEHAVING_PEER", `expected ${expected}, found ${kind}`);
}
