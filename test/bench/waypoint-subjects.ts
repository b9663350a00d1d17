// Machine. The subjects of the waypoint bench: single plain hops, and whole chains with tunnels on both sides of a waypoint.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import {
  envoyRouter,
  envoyWaypoint,
  spawnEnvoy,
  startEnvoy,
  tunnelClient,
  tunnelServer,
  type Address,
} from "../support/envoy.ts";
import { identityOf, spiffeId, TRUST_DOMAIN } from "../support/identities.ts";
import { startProgram, type Program } from "../support/process.ts";
import { spawnWithConfig, writeResources } from "../support/programs.ts";
import { service, waypoint, workloadEntry } from "../support/resources.ts";
import { accepts } from "../support/tcp.ts";
import { spawnNginxProxy } from "./apps.ts";
import type { Place, Running, Subject } from "./subject.ts";

const HTTP_PORT = 8080;
const HTTP2_PORT = 8081;
const GRPC_PORT = 7070;
const HBONE_PORT = 15008;
const SERVICE_VIP_PORT = 80;

const show = ({ host, port }: Address): string => `${host}:${port}`;
const near = (place: Place): Address => ({ host: place.address(0), port: HTTP_PORT });
const nearHttp2 = (place: Place): Address => ({ host: place.address(0), port: HTTP2_PORT });
const nearGrpc = (place: Place): Address => ({ host: place.address(0), port: GRPC_PORT });

function hop(place: Place, program: Program): Running {
  return { http: near(place), parts: new Map([["hop", program]]) };
}

/** One that speaks HTTP/2 to clients and applications, too. */
function hopOfBoth(place: Place, program: Program): Running {
  return { ...hop(place, program), http2: nearHttp2(place), grpc: nearGrpc(place) };
}

/** nginx as reverse proxy. */
export const nginxHop: Subject = {
  name: "nginx",
  about: "nginx as reverse proxy, one worker, kept-alive upstream connections",
  start: async (place) => hop(place, spawnNginxProxy(place.folder, near(place), place.app)),
};

/** Envoy as reverse proxy. */
export const envoyHop: Subject = {
  name: "envoy router",
  about: "Envoy's HTTP router, one worker, no filter but the router, no access log",
  start: async (place) =>
    hopOfBoth(
      place,
      spawnEnvoy({
        name: "envoy-router",
        folder: place.folder,
        parts: [
          envoyRouter({ listen: near(place), app: place.app }),
          envoyRouter({ listen: nearHttp2(place), app: place.http2, http2: true, name: "http2" }),
          envoyRouter({ listen: nearGrpc(place), app: place.grpc, http2: true, name: "grpc" }),
        ],
      }),
    ),
};

/** The addresses of a script that speaks HTTP/1.1, HTTP/2 and gRPC: where it listens and whereto it leads, in turn. */
function ways(place: Place): string[] {
  return [near(place), place.app, nearHttp2(place), place.http2, nearGrpc(place), place.grpc].map(show);
}

/** node:http and node:http2 as reverse proxies. */
export const nodeHop: Subject = {
  name: "bare node",
  about: "reverse proxies on node:http with a keep-alive agent, and on node:http2: the runtime's floor for HTTP/2",
  start: async (place) => hopOfBoth(place, spawnScript("node-proxy.ts", ...ways(place))),
};

/** The waypoint's HTTP path without tunnels. */
export const plainHop: Subject = {
  name: "culvert plain hop",
  about: "the waypoint's HTTP path (codec, policy, access log, metrics) on plain TCP at both sides",
  start: async (place) => hopOfBoth(place, spawnScript("waypoint-plain-hop.ts", ...ways(place))),
};

function spawnScript(file: string, ...args: readonly string[]): Program {
  const script = join(import.meta.dirname, file);
  if (!existsSync(script)) throw new Error(`${script} does not exist`);
  return startProgram({
    name: file,
    command: process.execPath,
    args: ["--max-semi-space-size=4", script, ...args],
    keep: 100,
  });
}

/** A place in a chain: its own address. */
const CLIENT = 0;
const WAYPOINT = 1;

function writeMesh(place: Place): void {
  writeResources(join(place.folder, "mesh"), "mesh", [
    service("app", [{ name: "http", port: SERVICE_VIP_PORT, targetPort: place.app.port, appProtocol: "http" }], {
      labels: { "istio.io/use-waypoint": "waypoint" },
    }),
    workloadEntry("app", place.app.host, { serviceAccount: "app" }),
    workloadEntry("client", place.address(CLIENT), { serviceAccount: "client" }),
    ...waypoint("waypoint", place.address(WAYPOINT), { serviceAccount: "waypoint" }),
  ]);
}

function common(place: Place, account: string, address: string): object {
  return {
    identity: { files: identityOf(place.identities, account).folder },
    resources: { files: join(place.folder, "mesh") },
    admin: "off",
    readiness: `${address}:15021`,
    metrics: `${address}:15020`,
  };
}

function spawnUproxy(place: Place, account: string, address: string, listeners: readonly object[]): Program {
  mkdirSync(place.folder, { recursive: true });
  return spawnWithConfig("uproxy", {
    name: account,
    folder: place.folder,
    keep: 100,
    config: {
      workload: { namespace: "default", name: account },
      ...common(place, account, address),
      inbound: { hbone: `${address}:${HBONE_PORT}` },
      outbound: { listeners, proxy: "off" },
    },
  });
}

async function startServerUproxy(place: Place): Promise<Program> {
  const program = spawnUproxy(place, "app", place.app.host, []);
  await program.watch("the tunnel listener", () => accepts(place.app.host, HBONE_PORT));
  return program;
}

function spawnClientUproxy(place: Place): Program {
  return spawnUproxy(place, "client", place.address(CLIENT), [
    { listen: show(near(place)), to: `app.default:${SERVICE_VIP_PORT}` },
  ]);
}

async function startOurWaypoint(place: Place): Promise<Program> {
  const address = place.address(WAYPOINT);
  const program = spawnWithConfig("waypoint", {
    name: "waypoint",
    folder: place.folder,
    keep: 100,
    config: {
      gateway: { namespace: "default", name: "waypoint" },
      ...common(place, "waypoint", address),
      hbone: `${address}:${HBONE_PORT}`,
    },
  });
  await program.watch("the tunnel listener", () => accepts(address, HBONE_PORT));
  return program;
}

function startEnvoyWaypoint(place: Place): Promise<Program> {
  const listen = { host: place.address(WAYPOINT), port: HBONE_PORT };
  return startEnvoy({
    name: "envoy-waypoint",
    folder: place.folder,
    ready: listen,
    parts: [
      envoyWaypoint({
        identity: identityOf(place.identities, "waypoint"),
        trustDomain: TRUST_DOMAIN,
        listen,
        authorities: ["*"],
        backend: {
          authority: show(place.app),
          peer: { host: place.app.host, port: HBONE_PORT },
          expected: spiffeId("app"),
        },
      }),
    ],
  });
}

function chain(place: Place, client: Program, middle: Program, server: Program): Running {
  return {
    http: near(place),
    parts: new Map([
      ["client", client],
      ["waypoint", middle],
      ["server", server],
    ]),
  };
}

/** Our own chain. */
export const culvertChain: Subject = {
  name: "culvert chain",
  about: "uproxy, waypoint, uproxy as shipped: tunnels on both sides of the waypoint",
  async start(place) {
    writeMesh(place);
    const server = await startServerUproxy(place);
    const middle = await startOurWaypoint(place);
    return chain(place, spawnClientUproxy(place), middle, server);
  },
};

/** Our uproxies around Envoy's waypoint: the same neighbours as in our own chain, another waypoint. */
export const mixedChain: Subject = {
  name: "uproxy, envoy waypoint",
  about: "uproxy, Envoy as waypoint (built as Istio builds it), uproxy",
  async start(place) {
    writeMesh(place);
    const server = await startServerUproxy(place);
    const middle = await startEnvoyWaypoint(place);
    return chain(place, spawnClientUproxy(place), middle, server);
  },
};

/** Envoy everywhere. */
export const envoyChain: Subject = {
  name: "envoy chain",
  about: "Envoy as tunnel client, as waypoint and as tunnel server",
  async start(place) {
    const serverListen = { host: place.app.host, port: HBONE_PORT };
    const server = await startEnvoy({
      name: "envoy-server",
      folder: place.folder,
      ready: serverListen,
      parts: [
        tunnelServer({
          identity: identityOf(place.identities, "app"),
          trustDomain: TRUST_DOMAIN,
          listen: serverListen,
          targets: [{ authority: show(place.app), apps: [place.app] }],
        }),
      ],
    });
    const middle = await startEnvoyWaypoint(place);
    const client = spawnEnvoy({
      name: "envoy-client",
      folder: place.folder,
      parts: [
        tunnelClient({
          identity: identityOf(place.identities, "client"),
          peer: { host: place.address(WAYPOINT), port: HBONE_PORT },
          expected: spiffeId("waypoint"),
          targets: [{ listen: near(place), authority: `app.default.svc.cluster.local:${SERVICE_VIP_PORT}` }],
        }),
      ],
    });
    return chain(place, client, middle, server);
  },
};
