// Machine. A small mesh whose service `shop` moves between the waypoints `a` and `b` and none, by the label `istio.io/use-waypoint`. Its
// programs read one folder, or each a folder of its own, so that a test decides who hears of a change when; or they ask an authority.
import { createServer as createHttp2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { join } from "node:path";
import { echo, startHttpApp, startTcpApp } from "./apps.ts";
import { ConfigAuthority } from "./config-authority.ts";
import { startMesh, type Mesh, type Proxy, type ProxyOptions } from "./mesh.ts";
import { writeResources } from "./programs.ts";
import { service, waypoint, workloadEntry, type Resource } from "./resources.ts";
import { configDump } from "./shop.ts";
import { until } from "./until.ts";

/** Ports of the service, and of the client's listeners that lead to it. */
export const MOVING = { http: 8000, http2: 8001, tcp: 8002 } as const;
/** What the HTTP/2 application answers with what it is sent, until that ends. */
export const LONG = "/long";

const NAMES = ["client", "a", "b", "shop"] as const;
/** The programs: the caller's uproxy, both waypoints, the uproxy of the service. */
export type Name = (typeof NAMES)[number];

/** What the resources say. */
export interface Said {
  /** The waypoint that the label names. */
  readonly waypoint: "a" | "b" | undefined;
  /** Where the label is. */
  readonly on: "service" | "namespace";
  /** `culvert.dev/require-waypoint` on the service. */
  readonly requires: boolean;
}

/** The running mesh. */
export interface Moving {
  readonly mesh: Mesh;
  readonly programs: Readonly<Record<Name, Proxy>>;
  /** Writes what the resources say from now on for everybody. Not waited for. */
  say(said: Said): void;
  /** The same for one program that has a folder of its own, and waits until that has it in use. */
  tell(name: Name, said: Said): Promise<void>;
}

/** @param source where the programs have their resources from */
export async function startMoving(source: "own folders" | "one folder" | "authority", begin: Said): Promise<Moving> {
  const mesh = await startMesh();
  const addresses = { client: mesh.address(), a: mesh.address(), b: mesh.address(), shop: mesh.address() };
  let version = 0;
  const resources = (said: Said): Resource[] => {
    version += 1;
    return [...resourcesOf(said, addresses), service(`version-${version}`, [{ name: "http", port: 1 }])];
  };
  const held = (name: Name): string => join(mesh.folder, "held", name);
  const write = (said: Said): void => {
    if (source === "own folders") for (const name of NAMES) writeResources(held(name), "mesh", resources(said));
    else mesh.write("mesh", resources(said));
  };
  write(begin);
  const authority = source === "authority" ? await ConfigAuthority.start(mesh) : undefined;
  const optionsOf = async (name: Name): Promise<ProxyOptions> => ({
    name,
    address: addresses[name],
    config: {
      // Whoever drains waits for what runs, as long as it runs.
      drain: { timeout: "60s" },
      // On a busy machine the last one may hear late.
      limits: { configurationWait: "60s" },
      ...(source === "own folders" ? { resources: { files: held(name) } } : {}),
      ...(await authority?.proxyConfig(name)),
    },
  });
  await startApps(mesh, addresses.shop);
  const inside = mesh.inside(addresses.client);
  const listeners = Object.values(MOVING).map((port) => ({ listen: `${inside}:${port}`, to: `shop:${port}` }));
  const [client, a, b, shop] = await Promise.all([
    optionsOf("client").then((options) => mesh.uproxy({ ...options, listeners })),
    optionsOf("a").then((options) => mesh.waypoint({ ...options, gateway: "a" })),
    optionsOf("b").then((options) => mesh.waypoint({ ...options, gateway: "b" })),
    optionsOf("shop").then((options) => mesh.uproxy(options)),
  ]);
  const programs = { client, a, b, shop };
  return {
    mesh,
    programs,
    say: write,
    async tell(name, said) {
      writeResources(held(name), "mesh", resources(said));
      const marker = `default/version-${version}`;
      const proxy = programs[name];
      await until(`${marker} at ${name}`, async () => (await configDump(proxy)).services[marker] !== undefined);
    },
  };
}

async function startApps(mesh: Mesh, host: string): Promise<void> {
  await mesh.with(startHttpApp(host, MOVING.http, "shop"));
  await mesh.with(startTcpApp(host, MOVING.tcp, echo));
  const sessions = new Set<ServerHttp2Session>();
  const app = createHttp2Server();
  app.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
    session.on("close", () => sessions.delete(session));
  });
  app.on("stream", (opened, headers) => {
    const stream = opened as ServerHttp2Stream;
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
    if (headers[":path"] !== LONG) return stream.end("here");
    stream.on("data", (chunk) => stream.write(chunk));
    return stream.on("end", () => stream.end());
  });
  await new Promise<void>((resolve) => app.listen(MOVING.http2, host, resolve));
  mesh.atEnd(() => {
    for (const session of sessions) session.destroy();
    return new Promise((resolve) => app.close(resolve));
  });
}

/** The resources, for programs at these addresses. */
export function resourcesOf(
  { waypoint: label, on, requires }: Said,
  addresses: Readonly<Record<Name, string>>,
): readonly Resource[] {
  const labels: Readonly<Record<string, string>> = label === undefined ? {} : { "istio.io/use-waypoint": label };
  const ports = [
    { name: "http", port: MOVING.http, appProtocol: "http" },
    { name: "http2", port: MOVING.http2, appProtocol: "kubernetes.io/h2c" },
    { name: "tcp", port: MOVING.tcp, appProtocol: "tcp" },
  ];
  const annotations = { "culvert.dev/require-waypoint": String(requires) };
  return [
    {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "default", ...(on === "namespace" ? { labels } : {}) },
    },
    service("shop", ports, { annotations, ...(on === "service" ? { labels } : {}) }),
    workloadEntry("client", addresses.client, { serviceAccount: "client" }),
    workloadEntry("shop", addresses.shop, { serviceAccount: "shop" }),
    ...waypoint("a", addresses.a, { serviceAccount: "a" }),
    ...waypoint("b", addresses.b, { serviceAccount: "b" }),
  ];
}
