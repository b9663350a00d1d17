// Machine. One small mesh in any of the four architectures: a client on node-1, the service `reviews` in a pod on each of two nodes
// behind the waypoint `waypoint`, the service `ratings` without one, and the instances that a placement wants. Where the pods are and
// how the client's application reaches the mesh is the site's, so that the same mesh runs on loopback or on hosts, from any source.
import { request } from "node:http";
import { text } from "node:stream/consumers";
import type { Placement } from "@culvert/shared/workload/workload.ts";
import { startHttpApp, type Echoed } from "./apps.ts";
import { ask, type HttpAnswer } from "./http.ts";
import { PORTS, SIDECAR_PORTS, startMesh, type Mesh, type Proxy, type ProxyOptions } from "./mesh.ts";
import { service, type Resource } from "./resources.ts";
import {
  APP_PORT,
  INSTANCES,
  NODES,
  resourcesOf,
  TO_RATINGS,
  TO_REVIEWS,
  type Place,
  type Pod,
  type Said,
} from "./architecture-resources.ts";
import { until, within } from "./until.ts";
import { configDump } from "./shop.ts";

/** What the mesh runs on. */
export interface Site {
  readonly mesh: Mesh;
  /** The place of a pod; asked once for each. */
  place(pod: Pod): Promise<Place>;
  /** Starts an application that answers as `startHttpApp` does, to be stopped with the mesh. */
  app(place: Place, port: number, name: string): Promise<unknown>;
  /** Options of every proxy over the usual ones: another source of configuration, other listeners. */
  options(pod: Pod, kind: "uproxy" | "waypoint", place: Place): Partial<ProxyOptions>;
  /** One request of the client's application over a connection of its own. @param to a service, `reviews` or `ratings`, or an address */
  ask(client: Proxy, to: string, path: string): Promise<HttpAnswer>;
  /** Called when the resources have been written, for sources that are not the folder itself. */
  written(resources: readonly Resource[]): Promise<void>;
}

/** The mesh on loopback: resources from files, the client by explicit listeners, addresses by its CONNECT proxy. */
export async function loopbackSite(): Promise<Site> {
  const mesh = await startMesh();
  return {
    mesh,
    place: () => Promise.resolve({ address: mesh.address(), prefix: [] }),
    app: ({ address }, port, name) => mesh.with(startHttpApp(address, port, name)),
    options: (pod, _kind, { address }) => {
      // Whoever drains waits for what runs, as long as it runs.
      const config = { drain: { timeout: "60s" } };
      if (pod !== "client") return { config };
      const inside = mesh.inside(address);
      return {
        config,
        listeners: [
          { listen: `${inside}:${TO_REVIEWS}`, to: "reviews:80" },
          { listen: `${inside}:${TO_RATINGS}`, to: "ratings:80" },
        ],
      };
    },
    ask: ({ inside }, to, path) => {
      const headers = { connection: "close" };
      if (to === "reviews") return ask(`http://${inside}:${TO_REVIEWS}${path}`, { headers });
      if (to === "ratings") return ask(`http://${inside}:${TO_RATINGS}${path}`, { headers });
      return askThroughProxy({ host: inside, port: PORTS.proxy }, to, path);
    },
    written: () => Promise.resolve(),
  };
}

/** One request through the port of the explicit proxy, by CONNECT. What it refuses has the status of its answer. */
export function askThroughProxy(
  proxy: { readonly host: string; readonly port: number },
  to: string,
  path: string,
): Promise<HttpAnswer> {
  const answer = new Promise<HttpAnswer>((resolve, reject) => {
    const connecting = request({ ...proxy, method: "CONNECT", path: to, agent: false });
    connecting.once("error", reject);
    connecting.once("connect", ({ statusCode: status = 0, headers }, socket) => {
      if (status !== 200) {
        socket.destroy();
        resolve({ status, headers, body: "" });
        return;
      }
      const asking = request({ path, headers: { host: to, connection: "close" }, createConnection: () => socket });
      asking.once("error", reject);
      asking.once("response", (response) => {
        void text(response).then(
          (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
          reject,
        );
      });
      asking.end();
    });
    connecting.end();
  });
  return within(`an answer of ${to}`, answer);
}

/** The mesh, running. */
export interface Architecture {
  readonly site: Site;
  readonly client: Proxy;
  readonly places: Readonly<Record<Pod, Place>>;
  /** The running instances by name. */
  readonly instances: ReadonlyMap<string, Proxy>;
  /** The uproxies of the applications by pod. */
  readonly apps: ReadonlyMap<Pod, Proxy>;
  /** What the resources say now. */
  readonly said: Said;
  /** One request of the client's application: the status, and what the application that answered says of it. */
  ask(to: string, path: string): Promise<HttpAnswer>;
  /** The same, of a service that answers 200. */
  echoed(to: string, path: string): Promise<Echoed>;
  /** Starts the instances of a placement; they are in the resources from then on. */
  start(placement: Placement): Promise<void>;
  /** Ends the instances of a placement in order, and takes them out of the resources. */
  stopInstances(placement: Placement): Promise<void>;
  /** Writes the resources with something else in them, and waits until all programs have them in use. */
  say(change: Partial<Said>): Promise<void>;
}

/** Starts the mesh in the architecture of a placement, and waits until every program is ready. */
export async function startArchitecture(placement: Placement, site?: Site): Promise<Architecture> {
  const at = site ?? (await loopbackSite());
  const pods = Object.keys(NODES) as Pod[];
  const found: [Pod, Place][] = [];
  for (const pod of pods) found.push([pod, await at.place(pod)]);
  const places = Object.fromEntries(found) as Record<Pod, Place>;
  const running = new Running(at, places, placement);
  await running.begin();
  return running;
}

class Running implements Architecture {
  readonly site: Site;
  readonly places: Readonly<Record<Pod, Place>>;
  readonly instances = new Map<string, Proxy>();
  readonly apps = new Map<Pod, Proxy>();
  #client: Proxy | undefined;
  #said: Said;
  #version = 0;

  constructor(site: Site, places: Readonly<Record<Pod, Place>>, placement: Placement) {
    this.site = site;
    this.places = places;
    this.#said = { placement, withoutLocal: undefined, listed: [placement], without: [], nodeless: [], more: [] };
  }

  get client(): Proxy {
    if (this.#client === undefined) throw new Error("the architecture has not been started");
    return this.#client;
  }

  get said(): Said {
    return this.#said;
  }

  async begin(): Promise<void> {
    await this.#write();
    const pods = ["reviews-1", "reviews-2", "ratings-1"] as const;
    for (const pod of pods) await this.site.app(this.places[pod], APP_PORT, pod);
    const [client, ...apps] = await Promise.all([
      this.#uproxy("client", "client"),
      ...pods.map((pod) => this.#uproxy(pod, pod.slice(0, -2))),
      this.start(this.#said.placement),
    ]);
    this.#client = client;
    for (const [index, pod] of pods.entries()) this.apps.set(pod, apps[index] as Proxy);
  }

  ask(to: string, path: string): Promise<HttpAnswer> {
    return this.site.ask(this.client, to, path);
  }

  async echoed(to: string, path: string): Promise<Echoed> {
    const { status, body } = await this.ask(to, path);
    if (status !== 200) throw new Error(`${to} ${path} answered ${status}: ${body}`);
    return JSON.parse(body) as Echoed;
  }

  async start(placement: Placement): Promise<void> {
    await Promise.all(
      INSTANCES[placement].map(async ({ name, pod, account, isBeside }) => {
        const { address, prefix } = this.places[pod];
        const own = isBeside ? { ports: SIDECAR_PORTS } : {};
        const options = this.site.options(pod, "waypoint", this.places[pod]);
        const proxy = await this.site.mesh.waypoint({
          name,
          address,
          prefix,
          account,
          sharesAccount: true,
          gateway: "waypoint",
          ...own,
          ...options,
        });
        this.instances.set(name, proxy);
      }),
    );
    if (this.#client !== undefined) await this.say({ listed: [...new Set([...this.#said.listed, placement])] });
  }

  async stopInstances(placement: Placement): Promise<void> {
    await Promise.all(
      INSTANCES[placement].map(async ({ name }) => {
        await this.instances.get(name)?.program.stop();
        this.instances.delete(name);
      }),
    );
    await this.say({ listed: this.#said.listed.filter((each) => each !== placement) });
  }

  async say(change: Partial<Said>): Promise<void> {
    this.#said = { ...this.#said, ...change };
    await this.#write();
    const all = [this.client, ...this.apps.values(), ...this.instances.values()];
    await Promise.all(all.map((proxy) => this.#inUse(proxy)));
  }

  async #inUse(proxy: Proxy): Promise<void> {
    const marker = `default/version-${this.#version}`;
    await until(
      `${marker} in use at ${proxy.name}`,
      async () => (await configDump(proxy)).services[marker] !== undefined,
    );
  }

  async #write(): Promise<void> {
    this.#version += 1;
    // Behind the waypoint, so that its instances hold it whatever they leave out.
    const labels = { "istio.io/use-waypoint": "waypoint" };
    const marker = service(`version-${this.#version}`, [{ name: "http", port: 1 }], { labels });
    const resources = [...resourcesOf(this.#said, this.places), marker];
    this.site.mesh.write("mesh", resources);
    await this.site.written(resources);
  }

  #uproxy(pod: Pod, account: string): Promise<Proxy> {
    const place = this.places[pod];
    const options = this.site.options(pod, "uproxy", place);
    return this.site.mesh.uproxy({
      name: pod,
      account,
      sharesAccount: true,
      address: place.address,
      prefix: place.prefix,
      ...options,
    });
  }
}
