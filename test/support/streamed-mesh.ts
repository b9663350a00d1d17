// Machine. A client's uproxy, an app's and a waypoint that have their resources from an authority's stream, and connections through all of
// them all the while: what happens to the stream is to be noticed by none of these.
import assert from "node:assert/strict";
import { echo, startTcpApp } from "./apps.ts";
import { ConfigAuthority } from "./config-authority.ts";
import { startMesh, type Mesh, type Proxy } from "./mesh.ts";
import { service, waypoint, workloadEntry, type Resource } from "./resources.ts";
import { converse } from "./tcp.ts";
import { observe, until } from "./until.ts";

/** Port of the app's service, and of the client's listener that leads to it directly. */
export const ECHO = 7001;
/** Of the client's listener that leads to the app through the waypoint. */
const BEHIND = 7002;
/** How long one step may take on a machine that does much else. */
export const DEADLINE_MS = 60_000;

export interface StreamedMeshOptions {
  /** In the folder beside what all of them need. */
  readonly more?: readonly Resource[];
  /** What the configuration of each proxy has besides. */
  readonly config?: object;
  /** Between two connections. */
  readonly pauseMs?: number;
}

/** See the head of the file. Make it with `startStreamedMesh`. */
export class StreamedMesh {
  readonly mesh: Mesh;
  readonly authority: ConfigAuthority;
  readonly client: Proxy;
  readonly app: Proxy;
  readonly through: Proxy;
  /** What the folder had at the start. */
  readonly resources: readonly Resource[];
  readonly #pauseMs: number;
  readonly #failures: string[] = [];
  #connections = 0;
  #isOver = false;
  readonly #done: Promise<void>;

  constructor(
    parts: Pick<StreamedMesh, "mesh" | "authority" | "client" | "app" | "through" | "resources">,
    pauseMs: number,
  ) {
    this.mesh = parts.mesh;
    this.authority = parts.authority;
    this.client = parts.client;
    this.app = parts.app;
    this.through = parts.through;
    this.resources = parts.resources;
    this.#pauseMs = pauseMs;
    this.#done = this.#traffic();
  }

  /** No connection has failed, and others have been made. */
  async unharmed(): Promise<void> {
    const connections = this.#connections;
    await until("other connections", () => this.#connections > connections + 4, DEADLINE_MS);
    assert.deepEqual(this.#failures, []);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#done;
    await this.mesh.stop();
  }

  async #traffic(): Promise<void> {
    while (!this.#isOver) {
      for (const listener of [ECHO, BEHIND]) {
        const { received, ended } = await converse(this.client.address, listener, "hello");
        this.#connections += 1;
        if (this.#pauseMs > 0) await observe(this.#pauseMs);
        if (String(received) !== "hello") this.#failures.push(`${listener}: ${String(received)} ${ended}`);
      }
    }
  }
}

/** Starts it; the first connection has gone each way. */
export async function startStreamedMesh(options: StreamedMeshOptions = {}): Promise<StreamedMesh> {
  const mesh = await startMesh();
  const [own, workload, gateway] = [mesh.address(), mesh.address(), mesh.address()];
  const resources = [
    service("app", [{ name: "tcp", port: ECHO }]),
    service("behind", [{ name: "tcp", port: ECHO, appProtocol: "tcp" }], {
      app: "app",
      labels: { "istio.io/use-waypoint": "waypoint" },
    }),
    ...(options.more ?? []),
    workloadEntry("app", workload, { serviceAccount: "app" }),
    workloadEntry("client", own, { serviceAccount: "client" }),
    ...waypoint("waypoint", gateway, { serviceAccount: "waypoint" }),
  ];
  mesh.write("mesh", resources);
  const authority = await ConfigAuthority.start(mesh);
  const configOf = async (account: string): Promise<Readonly<Record<string, unknown>>> => ({
    ...(await authority.proxyConfig(account)),
    ...options.config,
  });
  await mesh.with(startTcpApp(workload, ECHO, echo));
  const app = await mesh.uproxy({ name: "app", address: workload, config: await configOf("app") });
  const through = await mesh.waypoint({
    name: "waypoint-1",
    address: gateway,
    account: "waypoint",
    gateway: "waypoint",
    config: await configOf("waypoint"),
  });
  const client = await mesh.uproxy({
    name: "client",
    address: own,
    listeners: [
      { listen: `${own}:${ECHO}`, to: `app:${ECHO}` },
      { listen: `${own}:${BEHIND}`, to: `behind:${ECHO}` },
    ],
    config: await configOf("client"),
  });
  for (const listener of [ECHO, BEHIND]) {
    assert.equal(String((await converse(own, listener, "first")).received), "first");
  }
  return new StreamedMesh({ mesh, authority, client, app, through, resources }, options.pauseMs ?? 0);
}
