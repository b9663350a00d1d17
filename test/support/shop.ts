import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
// Machine. The mesh of the waypoint's tests: a client, and the service `shop` behind a waypoint, with one or two applications of which
// each has its own uproxy.
import { startMesh, type Mesh, type Proxy, type ProxyOptions } from "./mesh.ts";
import { virtualAddress } from "./loopback.ts";
import { dialHttp, type HttpWire, type WireAnswer } from "./http-wire.ts";
import { service, waypoint, workloadEntry, type Port, type Resource } from "./resources.ts";
import { ask } from "./http.ts";
import { startWireApp, type Script, type WireApp } from "./wire-app.ts";

/** Ports of the service; the client listens on the same. */
export const SHOP = { http: 8000, tcp: 8001, undeclared: 8002 } as const;
/** Port of the applications for HTTP. */
export const APP_PORT = 8080;
/** Cluster IP of `shop`: an address that nothing ever dials. */
export const SHOP_VIP: string = virtualAddress(10);

const SHOP_PORTS: readonly Port[] = [
  { name: "http", port: SHOP.http, targetPort: APP_PORT, appProtocol: "http" },
  { name: "tcp", port: SHOP.tcp, appProtocol: "tcp" },
  { name: "any", port: SHOP.undeclared },
];

/** What a test may want otherwise. */
export interface ShopOptions {
  /** Applications: one or two. */
  readonly apps?: 1 | 2;
  readonly scripts?: Readonly<Record<string, Script>>;
  /** Resources besides the usual ones. */
  readonly more?: (addresses: ShopAddresses) => readonly Resource[];
  /** Where listeners of the client besides those of `shop` lead, by port. */
  readonly listeners?: (addresses: ShopAddresses) => Readonly<Record<number, string>>;
  /** `istio.io/waypoint-for`; with `all` the applications' own addresses are behind the waypoint as well. */
  readonly serves?: "service" | "all";
  readonly waypoint?: Partial<ProxyOptions>;
}

/** Who is where. */
export interface ShopAddresses {
  readonly client: string;
  readonly waypoint: string;
  readonly apps: readonly [string, string];
}

/** A workload with its application. */
export interface ShopApp {
  readonly name: string;
  readonly address: string;
  readonly http: WireApp;
  readonly proxy: Proxy;
}

/** The running mesh. */
export interface Shop {
  readonly mesh: Mesh;
  readonly client: Proxy;
  readonly waypoint: Proxy;
  /** `shop-1`, and `shop-2` where there are two. */
  readonly apps: readonly [ShopApp, ...ShopApp[]];
  readonly addresses: ShopAddresses;
  /** A new connection to `shop` by way of the client's uproxy. */
  dial(port?: number): Promise<HttpWire>;
  /** One request over a connection of its own. */
  ask(text: string): Promise<WireAnswer>;
  /** Writes a file of resources and waits until these programs have it in use. */
  put(name: string, resources: readonly Resource[], users?: readonly Proxy[]): Promise<void>;
}

/** A service that selects by the label `version` as well: the backend of a route. */
export function version(name: string, label: string): Resource {
  const spec = { selector: { app: "shop", version: label }, ports: [SHOP_PORTS[0]] };
  return { ...service(name, []), spec };
}

/** Starts the mesh and waits until every program of it is ready. */
export async function startShop(options: ShopOptions = {}): Promise<Shop> {
  const { apps: count = 1, scripts = {}, more, listeners, serves = "service" } = options;
  const mesh = await startMesh();
  const addresses: ShopAddresses = {
    client: mesh.address(),
    waypoint: mesh.address(),
    apps: [mesh.address(), mesh.address()],
  };
  const places = addresses.apps.slice(0, count).map((address, index) => ({ address, number: String(index + 1) }));
  const behind = { "istio.io/use-waypoint": "waypoint" };
  mesh.write("mesh", [
    service("shop", SHOP_PORTS, { labels: behind, clusterIP: SHOP_VIP }),
    workloadEntry("client", addresses.client, { serviceAccount: "client" }),
    ...places.map(({ address, number }) =>
      workloadEntry(`shop-${number}`, address, {
        serviceAccount: `shop-${number}`,
        app: "shop",
        labels: { version: `v${number}`, ...(serves === "all" ? behind : {}) },
      }),
    ),
    ...waypoint("waypoint", addresses.waypoint, { serviceAccount: "waypoint", serves }),
    ...(more?.(addresses) ?? []),
  ]);
  const to: Readonly<Record<string, string>> = {
    ...Object.fromEntries(Object.values(SHOP).map((port) => [port, `shop:${port}`])),
    ...listeners?.(addresses),
  };
  const [client, running, ...apps] = await Promise.all([
    mesh.uproxy({
      name: "client",
      address: addresses.client,
      listeners: Object.entries(to).map(([port, target]) => ({
        listen: hostPort(mesh.inside(addresses.client), Number(port)),
        to: target,
      })),
    }),
    mesh.waypoint({ name: "waypoint", address: addresses.waypoint, gateway: "waypoint", ...options.waypoint }),
    ...places.map(({ address, number }) => startApp(mesh, `shop-${number}`, address, scripts)),
  ]);
  const [first, ...others] = apps;
  if (first === undefined) throw new Error("a shop without applications");
  const dial = (port: number = SHOP.http): Promise<HttpWire> => dialHttp(client.inside, port);
  return {
    mesh,
    client,
    waypoint: running,
    apps: [first, ...others],
    addresses,
    dial,
    async ask(text) {
      const wire = await dial();
      try {
        return await wire.ask(text);
      } finally {
        wire.close();
      }
    },
    put: (name, resources, users = [running]) => putResources(mesh, name, resources, users),
  };
}

let markers = 0;

/** Writes a file of resources and waits until these programs have it in use. */
export async function putResources(
  mesh: Mesh,
  name: string,
  resources: readonly Resource[],
  users: readonly Proxy[],
): Promise<void> {
  markers += 1;
  const marker = `marker-${markers}`;
  mesh.write(name, [...resources, service(`${marker}-${name}`, [{ name: "http", port: 1 }])]);
  await Promise.all(users.map((user) => inUse(user, `default/${marker}-${name}`)));
}

async function startApp(
  mesh: Mesh,
  name: string,
  address: string,
  scripts: Readonly<Record<string, Script>>,
): Promise<ShopApp> {
  const http = await mesh.with(startWireApp(address, APP_PORT, name, scripts));
  return { name, address, http, proxy: await mesh.uproxy({ name, address }) };
}

/** Waits until a program's dump of its resources names a service. */
async function inUse(proxy: Proxy, uid: string): Promise<void> {
  await proxy.program.watch(`${uid} in use`, async () => (await configDump(proxy)).services[uid] !== undefined);
}

/** An HTTPRoute in a dump. */
interface DumpedRoute {
  readonly notUnderstood: string | null;
  readonly status: readonly { readonly conditions: readonly { readonly reason: string }[] }[];
}

/** What a program says of the resources that it has in use. */
export interface ConfigDump {
  readonly version: number;
  readonly problems: readonly { readonly resource: string; readonly text: string; readonly file: string }[];
  readonly services: Readonly<Record<string, unknown>>;
  /** Of waypoints. */
  readonly routes: Readonly<Record<string, DumpedRoute>>;
  readonly policies: Readonly<Record<string, { readonly notUnderstood: string | null }>>;
}

/** Asks the admin port for the resources in use. */
export async function configDump(proxy: Proxy): Promise<ConfigDump> {
  const { body } = await ask(`http://${proxy.admin}/config_dump`);
  return JSON.parse(body) as ConfigDump;
}
