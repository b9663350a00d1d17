// Machine. One waypoint that is shared by two namespaces, `noisy` and `quiet`, each with a client of its own behind a real uproxy; and what
// stands behind the waypoint: an application, one that nobody has called yet, one of which the proxies hang, and one that is gone.
import type { ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { serveHttp } from "./apps.ts";
import { ask } from "./http.ts";
import { PORTS, startMesh, type Mesh, type Proxy, type ProxyOptions } from "./mesh.ts";
import { startProgram } from "./process.ts";
import { service, waypoint, workloadEntry, type Port, type Resource } from "./resources.ts";

/** Ports of the clients' listeners, by where they lead. */
export const TENANT_PORTS = { app: 9001, cold: 9002, hang: 9003, gone: 9004 } as const;

const APP_PORT = 8080;
const STALLED_PORT = 25_008;
const STALLED = fileURLToPath(new URL("stalled-process.ts", import.meta.url));
const HTTP: readonly Port[] = [{ name: "http", port: 80, targetPort: APP_PORT, appProtocol: "http" }];
const BEHIND = { labels: { "istio.io/use-waypoint": "waypoint" } };
/** Of the answer to `/pour`. */
const POURED = 8 * 1024 * 1024;

/** The running mesh. */
export interface TwoTenants {
  readonly mesh: Mesh;
  readonly waypoint: Proxy;
  readonly noisy: Proxy;
  readonly quiet: Proxy;
  /** Requests to `/hold`, which nobody answers before `letGo`. */
  readonly held: ReadonlySet<ServerResponse>;
  readonly letGo: () => void;
  /** The value of one of the waypoint's metrics, 0 where there is no such series. */
  readonly metric: (series: string) => Promise<number>;
}

/**
 * Starts it.
 *
 * @param hanging endpoints of the service whose proxies take no connection
 */
export async function startTenants(config: ProxyOptions["config"], hanging: number): Promise<TwoTenants> {
  const mesh = await startMesh();
  const [noisyAt, quietAt, waypointAt, appAt, coldAt, hangAt, goneAt] = Array.from({ length: 7 }, () =>
    mesh.address(),
  ) as [string, string, string, string, string, string, string];
  mesh.write("mesh", [
    ...Object.keys(TENANT_PORTS).map((name) => service(name, HTTP, BEHIND)),
    workloadEntry("noisy", noisyAt, { namespace: "noisy", serviceAccount: "noisy" }),
    workloadEntry("quiet", quietAt, { namespace: "quiet", serviceAccount: "quiet" }),
    workloadEntry("app", appAt, { serviceAccount: "app" }),
    workloadEntry("cold", coldAt, { serviceAccount: "cold" }),
    workloadEntry("gone", goneAt, { serviceAccount: "gone" }),
    ...Array.from({ length: hanging }, (_, index) => hangingEntry(index, hangAt)),
    ...waypoint("waypoint", waypointAt, { serviceAccount: "waypoint" }),
  ]);
  const held = new Set<ServerResponse>();
  const app = (host: string) =>
    serveHttp(host, APP_PORT, (request, response) => {
      request.resume().on("end", () => {
        if (request.url === "/hold") hold(held, response);
        else if (request.url === "/pour") response.end(Buffer.alloc(POURED));
        else response.end("ok");
      });
    });
  await Promise.all([mesh.with(app(appAt)), mesh.with(app(coldAt))]);
  const stalled = startProgram({
    name: "stalled",
    command: process.execPath,
    args: [STALLED, hangAt, String(STALLED_PORT)],
    stopSignal: "SIGKILL",
  });
  mesh.atEnd(() => stalled.stop());
  await stalled.line(/listening/);
  const listeners = (address: string) =>
    Object.entries(TENANT_PORTS).map(([name, port]) => ({ listen: `${address}:${port}`, to: `${name}.default:80` }));
  const client = (namespace: string, address: string) =>
    mesh.uproxy({ name: namespace, namespace, address, listeners: listeners(address) });
  const noisy = await client("noisy", noisyAt);
  const quiet = await client("quiet", quietAt);
  const [proxy] = await Promise.all([
    mesh.waypoint({ name: "waypoint", address: waypointAt, gateway: "waypoint", config: config ?? {} }),
    mesh.uproxy({ name: "app", address: appAt }),
    mesh.uproxy({ name: "cold", address: coldAt }),
  ]);
  return {
    mesh,
    waypoint: proxy,
    noisy,
    quiet,
    held,
    letGo: () => {
      for (const response of held) response.end("ok");
    },
    metric: async (series) => {
      const { body } = await ask(`http://${proxy.address}:${PORTS.metrics}/metrics`);
      const line = body.split("\n").find((each) => each.startsWith(`${series} `));
      return Number(line?.slice(series.length + 1) ?? 0);
    },
  };
}

function hold(held: Set<ServerResponse>, response: ServerResponse): void {
  held.add(response);
  response.on("close", () => held.delete(response));
}

/** Of an account of its own, so that each is a peer of its own. */
function hangingEntry(index: number, address: string): Resource {
  return workloadEntry(`hang-${index}`, address, {
    app: "hang",
    serviceAccount: `hang-${index}`,
    annotations: { "culvert.dev/hbone-port": String(STALLED_PORT) },
  });
}
