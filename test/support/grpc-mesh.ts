// Machine. The mesh of the tests of gRPC: a client, grpc-go's interoperability server behind a uproxy, and a waypoint before the ports
// of its service that say so.
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import type { TurnsApp } from "./grpc-turns.ts";
import { startInteropServer } from "./grpc-interop.ts";
import { startMesh, type Mesh, type Proxy } from "./mesh.ts";
import { service, waypoint, workloadEntry } from "./resources.ts";

/** Ports of the client, each of which leads to the server. */
export const GRPC_PORTS = {
  /** From uproxy to uproxy. */
  direct: 7001,
  /** By way of the waypoint. */
  grpc: 7002,
  /** By way of the waypoint, from gRPC-Web. */
  web: 7003,
  /** A service of nothing. */
  empty: 7004,
  /** By way of the waypoint, from gRPC-Web, to an application of the test's own. */
  turns: 7005,
} as const;

/** The running mesh. */
export interface GrpcMesh {
  readonly mesh: Mesh;
  readonly client: Proxy;
  readonly waypoint: Proxy;
}

/** Starts it. */
export async function startGrpcMesh(options: { readonly turns?: TurnsApp } = {}): Promise<GrpcMesh> {
  const mesh = await startMesh();
  const addresses = { client: mesh.address(), app: mesh.address(), waypoint: mesh.address() };
  const server = await startInteropServer();
  await mesh.with(Promise.resolve(server.program));
  const behind = { labels: { "istio.io/use-waypoint": "waypoint" } };
  const { direct, grpc, web, empty, turns } = GRPC_PORTS;
  const targetPort = server.port;
  mesh.write("mesh", [
    service("direct", [{ name: "grpc", port: direct, targetPort, appProtocol: "grpc" }], { app: "app" }),
    service(
      "app",
      [
        { name: "grpc", port: grpc, targetPort },
        { name: "grpc-web", port: web, targetPort },
      ],
      behind,
    ),
    service("turns", [{ name: "grpc-web", port: turns, targetPort: options.turns?.port ?? turns }], {
      app: "app",
      ...behind,
    }),
    service("empty", [{ name: "grpc", port: empty }], behind),
    workloadEntry("client", addresses.client, { serviceAccount: "client" }),
    workloadEntry("app", addresses.app, { serviceAccount: "app" }),
    ...waypoint("waypoint", addresses.waypoint, { serviceAccount: "waypoint" }),
  ]);
  const to = { [direct]: "direct", [grpc]: "app", [web]: "app", [empty]: "empty", [turns]: "turns" };
  mesh.atEnd(async () => options.turns?.stop());
  const [client, middle] = await Promise.all([
    mesh.uproxy({
      name: "client",
      address: addresses.client,
      listeners: Object.entries(to).map(([port, name]) => ({
        listen: hostPort(mesh.inside(addresses.client), Number(port)),
        to: `${name}:${port}`,
      })),
    }),
    mesh.waypoint({ name: "waypoint", address: addresses.waypoint, gateway: "waypoint" }),
    mesh.uproxy({ name: "app", address: addresses.app }),
  ]);
  return { mesh, client, waypoint: middle };
}
