// Machine. One architecture as hosts: a client with a uproxy that is reached in every way there is, the service `shop` with two workloads,
// and the instances of its waypoint where the architecture has them. The same names, ports, routes and policies in all of them.
import { ConfigAuthority } from "../config-authority.ts";
import { echoed, startLab, type Lab } from "../lab.ts";
import type { IdentityFiles } from "../identities.ts";
import { PORTS, SIDECAR_PORTS, type Proxy, type ProxyOptions } from "../mesh.ts";
import type { Host } from "../netns.ts";
import { nodeLabel, placedGateway, placedInstance, type PlacedInstance } from "../placed-waypoint.ts";
import type { Result } from "../process.ts";
import { authorizationPolicy, httpRoute, service, workloadEntry, type Resource } from "../resources.ts";
import type { Architecture, Capture, Source } from "./cells.ts";

/** What the client's uproxy runs as, so that capture tells it from the app. */
const PROXY_USER = 1337;
/** Cluster IP of the service. */
export const VIP = "10.96.0.10";
/** Ports of the service; the apps have `http` at 8080 and the others at the same number. */
export const SHOP_PORTS = { http: 80, open: 7001, closed: 7002 } as const;
const APP_HTTP = 8080;
/** An instance of the waypoint, and how it is started again. */
export interface Instance {
  readonly name: string;
  readonly host: Host;
  /** `host:port` of its admin port on that host, and the port of its metrics. */
  readonly admin: string;
  readonly metrics: string;
  proxy: Proxy;
  start(): Promise<Proxy>;
}

/** How an app reaches the shop: by its name or its address, at one of its ports. */
export interface Reach {
  readonly by: "name" | "ip";
  readonly port?: number;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An architecture that runs. Make it with `startMatrixLab`. */
export class MatrixLab {
  readonly architecture: Architecture;
  readonly lab: Lab;
  readonly client: Proxy;
  readonly clientHost: Host;
  readonly shops: readonly { readonly name: string; readonly host: Host; readonly proxy: Proxy }[];
  /** Where the client's connections are to go; empty without a waypoint. */
  readonly instances: readonly Instance[];
  /** Instances that are there too and that it does not take: on another node than its own. */
  readonly elsewhere: readonly Instance[];

  constructor(
    parts: Pick<MatrixLab, "architecture" | "lab" | "client" | "clientHost" | "shops" | "instances" | "elsewhere">,
  ) {
    this.architecture = parts.architecture;
    this.lab = parts.lab;
    this.client = parts.client;
    this.clientHost = parts.clientHost;
    this.shops = parts.shops;
    this.instances = parts.instances;
    this.elsewhere = parts.elsewhere;
  }

  /** The account that waypoints have. */
  get waypointAccount(): string {
    return waypointAccount(this.architecture);
  }

  /** One request of an app on the client's host. */
  get(capture: Capture, { by, port = SHOP_PORTS.http, path = "/", headers = {} }: Reach): Promise<Result> {
    const fields = Object.entries(headers).flatMap(([name, value]) => ["--header", `${name}: ${value}`]);
    const host = by === "name" ? "shop.default" : VIP;
    const url = `http://${capture === "listener" ? `127.0.0.1:${listenerPort(by, port)}` : `${host}:${port}`}${path}`;
    const proxy = {
      listener: ["--header", `host: ${host}`],
      connect: ["--proxytunnel", "--proxy", "http://127.0.0.1:15080"],
      socks: ["--socks5-hostname", "127.0.0.1:15080"],
      transparent: [],
    }[capture];
    return this.lab.curl(this.clientHost, ...proxy, ...fields, url);
  }

  /** A request that must be answered; what the app tells of it. */
  async told(capture: Capture, reach: Reach): Promise<ReturnType<typeof echoed>> {
    return echoed(await this.get(capture, reach));
  }

  /** What a program of a host tells at a port of that host. */
  async asked(host: Host, address: string, path: string): Promise<string> {
    return this.lab.done(host, "curl", "--silent", "--fail", `http://${address}${path}`);
  }

  /** Puts the next certificate of an account in the place of the one before. */
  async renew(account: string): Promise<void> {
    await this.lab.mesh.issue(account, account === "client" ? { user: PROXY_USER } : {});
  }

  stop(): Promise<void> {
    return this.lab.stop();
  }
}

function listenerPort(by: "name" | "ip", port: number): number {
  return (by === "name" ? 20_000 : 30_000) + port;
}

/** Starts the architecture and waits until every program of it is ready. */
export async function startMatrixLab(architecture: Architecture, source: Source): Promise<MatrixLab> {
  const lab = await startLab();
  try {
    return await start(lab, architecture, source);
  } catch (error) {
    await lab.stop().catch(() => {});
    throw error;
  }
}

async function start(lab: Lab, architecture: Architecture, source: Source): Promise<MatrixLab> {
  const hosts = [lab.host(), lab.host(), lab.host(), lab.host(), lab.host()] as const;
  const [clientHost, first, second, near, far] = await Promise.all(hosts);
  // A virtual address needs a route for the packet that is turned, though nobody has it; names are asked of nobody either.
  await lab.done(clientHost, "ip", "route", "add", "10.96.0.0/16", "dev", "eth0");
  lab.network.resolvConf(clientHost, `nameserver ${far.address}\n`);
  const places = [
    { name: "shop-1", host: first },
    { name: "shop-2", host: second },
  ];
  const wanted = instancesOf(architecture, places, near, far);
  lab.mesh.write("mesh", meshOf(architecture, clientHost, places, wanted));
  const config = source === "files" ? {} : { resources: await fromAuthority(lab, far) };
  const shopIdentity = await lab.mesh.issue("shop");
  const account = waypointAccount(architecture);
  const identity = account === "shop" ? shopIdentity : await lab.mesh.issue(account);
  const [shops, instances, client] = await Promise.all([
    Promise.all(
      places.map(async ({ name, host }) => {
        await lab.app("http", host, `${APP_HTTP},${SHOP_PORTS.open},${SHOP_PORTS.closed}`);
        const proxy = await lab.uproxy(name, host, { ...config, workload: { name } }, { identity: shopIdentity });
        return { name, host, proxy };
      }),
    ),
    Promise.all(wanted.map((each) => startInstance(lab, config, each, identity))),
    lab.uproxy("client", clientHost, { ...config, ...clientConfig() }, { user: PROXY_USER }),
  ]);
  await lab.capture(clientHost, "apply", "client");
  return new MatrixLab({
    architecture,
    lab,
    client,
    clientHost,
    shops,
    instances: instances.filter(({ host }) => architecture !== "node" || host !== far),
    elsewhere: instances.filter(({ host }) => architecture === "node" && host === far),
  });
}

/** An authority on a host of its own that reads the folder. */
async function fromAuthority({ mesh }: Lab, host: Host): Promise<ConfigAuthority["resources"]> {
  return (await ConfigAuthority.start(mesh, { host, ca: await mesh.writeAuthority() })).resources;
}

/** Every way into the mesh at once. */
function clientConfig(): Readonly<Record<string, unknown>> {
  const listeners = Object.values(SHOP_PORTS).flatMap((port) => [
    { listen: `127.0.0.1:${listenerPort("name", port)}`, to: `shop:${port}` },
    { listen: `127.0.0.1:${listenerPort("ip", port)}`, to: `${VIP}:${port}` },
  ]);
  return {
    workload: { name: "client" },
    outbound: { listeners, proxy: "127.0.0.1:15080", transparent: ":15001", unknown: "refuse" },
    dns: "localhost:15053",
  };
}

/** An instance that is to be started. */
interface Wanted extends PlacedInstance {
  readonly host: Host;
  /** Number of the node that it is on. */
  readonly node: number;
}

function instancesOf(
  architecture: Architecture,
  pods: readonly { readonly name: string; readonly host: Host }[],
  near: Host,
  far: Host,
): readonly Wanted[] {
  if (architecture === "none") return [];
  const account = waypointAccount(architecture);
  if (architecture === "sidecar") {
    return pods.map(({ name, host }, index) => ({
      name: `waypoint-of-${name}`,
      account,
      isBeside: true,
      host,
      node: index + 3,
    }));
  }
  const own = { name: "waypoint-1", account, isBeside: false, host: near, node: 1 };
  return architecture === "node" ? [own, { ...own, name: "waypoint-2", host: far, node: 2 }] : [own];
}

/** A waypoint beside a workload has the workload's account, one of an account that account, others one of their own. */
function waypointAccount(architecture: Architecture): "shop" | "waypoint" {
  return architecture === "service-account" || architecture === "sidecar" ? "shop" : "waypoint";
}

function node(number: number): Readonly<Record<string, string>> {
  return nodeLabel(`node-${number}`);
}

function meshOf(
  architecture: Architecture,
  client: Host,
  pods: readonly { readonly name: string; readonly host: Host }[],
  instances: readonly Wanted[],
): readonly Resource[] {
  const isBehind = architecture !== "none";
  const ports = [
    { name: "http", port: SHOP_PORTS.http, targetPort: APP_HTTP, appProtocol: "http" },
    { name: "tcp-open", port: SHOP_PORTS.open },
    { name: "tcp-closed", port: SHOP_PORTS.closed },
  ];
  const closed = [{ to: [{ operation: { ports: [String(SHOP_PORTS.closed)] } }] }];
  const resources = [
    service("shop", ports, { clusterIP: VIP, labels: isBehind ? { "istio.io/use-waypoint": "waypoint" } : {} }),
    workloadEntry("client", client.address, { serviceAccount: "client", labels: node(1) }),
    ...pods.map(({ name, host }, index) =>
      workloadEntry(name, host.address, {
        serviceAccount: "shop",
        app: "shop",
        labels: { version: `v${index + 1}`, ...node(index + 3) },
      }),
    ),
    authorizationPolicy("closed", "DENY", isBehind ? { service: "shop" } : { app: "shop" }, closed),
  ];
  if (!isBehind) return resources;
  const version = (number: number): Resource => ({
    ...service(`shop-v${number}`, []),
    spec: { selector: { app: "shop", version: `v${number}` }, ports: [ports[0]] },
  });
  const secret = [{ to: [{ operation: { paths: ["/secret"], ports: [String(SHOP_PORTS.http)] } }] }];
  const to = (number: number): object => ({ backendRefs: [{ name: `shop-v${number}`, port: SHOP_PORTS.http }] });
  return [
    ...resources,
    version(1),
    version(2),
    httpRoute("shop", "shop", [{ matches: [{ headers: [{ name: "x-version", value: "v2" }] }], ...to(2) }, to(1)]),
    authorizationPolicy("secret", "DENY", { service: "shop" }, secret),
    placedGateway(architecture, "shop"),
    ...instances.map((each) => placedInstance(each, each.host.address, node(each.node))),
  ];
}

async function startInstance(
  lab: Lab,
  config: ProxyOptions["config"],
  { name, host, isBeside }: Wanted,
  identity: IdentityFiles,
): Promise<Instance> {
  const ports = isBeside ? SIDECAR_PORTS : PORTS;
  const begin = (): Promise<Proxy> => lab.waypoint(name, host, "waypoint", { identity, ports, config: { ...config } });
  const instance: Instance = {
    name,
    host,
    admin: `127.0.0.1:${ports.admin}`,
    metrics: `127.0.0.1:${ports.metrics}`,
    proxy: await begin(),
    async start() {
      instance.proxy = await begin();
      return instance.proxy;
    },
  };
  return instance;
}
