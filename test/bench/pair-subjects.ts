// Machine. The subjects of the pair bench: what can stand between two apps.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { spawnEnvoy, startEnvoy, tunnelClient, tunnelServer, type Address } from "../support/envoy.ts";
import { identityOf, spiffeId, TRUST_DOMAIN } from "../support/identities.ts";
import { startProgram, type Program } from "../support/process.ts";
import { spawnWithConfig, writeResources } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { accepts } from "../support/tcp.ts";
import type { Place, Subject } from "./subject.ts";

const HTTP_PORT = 8080;
const BULK_PORT = 5201;
const HBONE_PORT = 15008;

const show = ({ host, port }: Address): string => `${host}:${port}`;

function pairOf(client: Program, server: Program): ReadonlyMap<string, Program> {
  return new Map([
    ["client", client],
    ["server", server],
  ]);
}

/** The load tool talks to the app. */
export const direct: Subject = {
  name: "direct",
  about: "the load tool talks to the app itself",
  start: async (place) => ({
    http: place.app,
    http2: place.http2,
    grpc: place.grpc,
    bulk: place.bulk,
    parts: new Map(),
  }),
};

/** Two plain relays. */
export const relayPair: Subject = {
  name: "tcp relay",
  about: "two plain TCP relays in Node: the runtime's floor, without TLS, tunnel, identity or policy",
  async start(place) {
    const near = {
      http: { host: place.address(0), port: HTTP_PORT },
      bulk: { host: place.address(0), port: BULK_PORT },
    };
    const far = {
      http: { host: place.address(1), port: HTTP_PORT },
      bulk: { host: place.address(1), port: BULK_PORT },
    };
    const server = spawnRelay("relay-server", [far.http, place.app], [far.bulk, place.bulk]);
    await server.watch("the listener", () => accepts(far.http.host, far.http.port));
    const client = spawnRelay("relay-client", [near.http, far.http], [near.bulk, far.bulk]);
    return { ...near, parts: pairOf(client, server) };
  },
};

function spawnRelay(name: string, ...mappings: readonly (readonly [Address, Address])[]): Program {
  const args = mappings.map(([from, to]) => `${show(from)}=${show(to)}`);
  return startProgram({ name, command: process.execPath, args: [join(import.meta.dirname, "tcp-relay.ts"), ...args] });
}

/** The tunnel layer of uproxy without the rest of it. */
export const bareTunnelPair: Subject = {
  name: "bare tunnel",
  about: "the tunnel layer of uproxy alone: no resolving, policy, access log or metrics",
  async start(place) {
    const hbone = { host: place.address(1), port: HBONE_PORT };
    const http = { host: place.address(0), port: HTTP_PORT };
    const bulk = { host: place.address(0), port: BULK_PORT };
    const server = spawnBareTunnel(place, "server", "app", [show(hbone)]);
    await server.watch("the tunnel listener", () => accepts(hbone.host, hbone.port));
    const mappings = [`${show(http)}=${show(place.app)}`, `${show(bulk)}=${show(place.bulk)}`];
    const client = spawnBareTunnel(place, "client", "client", [show(hbone), spiffeId("app"), ...mappings]);
    return { http, bulk, parts: pairOf(client, server) };
  },
};

function spawnBareTunnel(place: Place, role: string, account: string, args: readonly string[]): Program {
  const { folder } = identityOf(place.identities, account);
  const file = join(import.meta.dirname, "bare-tunnel.ts");
  return startProgram({
    name: `bare-tunnel-${role}`,
    command: process.execPath,
    // As uproxy itself is started.
    args: ["--max-semi-space-size=4", "--use-openssl-ca", file, role, folder, ...args],
  });
}

/** Two uproxies, configured as the README shows: files for identity and resources, everything else by default. */
export const uproxyPair: Subject = {
  name: "uproxy pair",
  about: "two uproxies as shipped (policy, access log and metrics on), explicit listeners",
  async start(place) {
    const resources = join(place.folder, "mesh");
    writeResources(resources, "mesh", [
      service("app", [
        { name: "http", port: place.app.port },
        { name: "tcp-bulk", port: place.bulk.port },
      ]),
      workloadEntry("app", place.app.host, { serviceAccount: "app" }),
      workloadEntry("client", place.address(0), { serviceAccount: "client" }),
    ]);
    const server = spawnUproxy(place, "app", place.app.host, []);
    await server.watch("the tunnel listener", () => accepts(place.app.host, HBONE_PORT));
    const http = { host: place.address(0), port: HTTP_PORT };
    const bulk = { host: place.address(0), port: BULK_PORT };
    const client = spawnUproxy(place, "client", place.address(0), [
      { listen: show(http), to: `app.default:${place.app.port}` },
      { listen: show(bulk), to: `app.default:${place.bulk.port}` },
    ]);
    return { http, bulk, parts: pairOf(client, server) };
  },
};

/** A uproxy as the README shows it, over the resources in the place's folder. Not waited for. */
export function spawnUproxy(place: Place, account: string, address: string, listeners: readonly object[]): Program {
  mkdirSync(place.folder, { recursive: true });
  return spawnWithConfig("uproxy", {
    name: account,
    folder: place.folder,
    keep: 100,
    config: {
      workload: { namespace: "default", name: account },
      identity: { files: identityOf(place.identities, account).folder },
      resources: { files: join(place.folder, "mesh") },
      inbound: { hbone: `${address}:${HBONE_PORT}` },
      outbound: { listeners, proxy: "off" },
      admin: "off",
      readiness: `${address}:15021`,
      metrics: `${address}:15020`,
    },
  });
}

/** Envoy at both ends. */
export const envoyPair: Subject = {
  name: "envoy pair",
  about: "Envoy as HBONE client and server, one worker each, without filters, access log or admin",
  async start(place) {
    const listen = { host: place.address(1), port: HBONE_PORT };
    const server = await startEnvoy({
      name: "envoy-server",
      folder: place.folder,
      parts: [
        tunnelServer({
          identity: identityOf(place.identities, "app"),
          trustDomain: TRUST_DOMAIN,
          listen,
          targets: [
            { authority: show(place.app), apps: [place.app] },
            { authority: show(place.bulk), apps: [place.bulk] },
          ],
        }),
      ],
      ready: listen,
    });
    const http = { host: place.address(0), port: HTTP_PORT };
    const bulk = { host: place.address(0), port: BULK_PORT };
    const client = spawnEnvoy({
      name: "envoy-client",
      folder: place.folder,
      parts: [
        tunnelClient({
          identity: identityOf(place.identities, "client"),
          peer: listen,
          expected: spiffeId("app"),
          targets: [
            { listen: http, authority: show(place.app) },
            { listen: bulk, authority: show(place.bulk) },
          ],
        }),
      ],
    });
    return { http, bulk, parts: pairOf(client, server) };
  },
};
