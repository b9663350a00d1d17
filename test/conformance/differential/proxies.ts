// Machine. The proxies that are compared, each as it is without any wish of ours beyond a plain reverse proxy: our waypoint between two
// uproxies, Envoy, nginx, HAProxy. All lead to the same application.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "../../support/env.ts";
import { envoyRouter, spawnEnvoy, type Address } from "../../support/envoy.ts";
import { startMesh, type Mesh } from "../../support/mesh.ts";
import { startProgram, type Program } from "../../support/process.ts";
import { service, waypoint, workloadEntry } from "../../support/resources.ts";
import { accepts } from "../../support/tcp.ts";
import { startRecorder, type Recorder } from "./recorder.ts";

/** The proxies by name, ours first. */
export const PROXIES = ["culvert", "envoy", "nginx", "haproxy"] as const;

/** One of them. */
export type ProxyName = (typeof PROXIES)[number];

/** All of them, running. */
export interface Field {
  readonly recorder: Recorder;
  readonly at: Readonly<Record<ProxyName, Address>>;
  stop(): Promise<void>;
}

const APP_PORT = 8080;
const LISTEN_PORT = 8000;

/** Starts everything. */
export async function startField(): Promise<Field> {
  const mesh = await startMesh();
  try {
    return await fill(mesh);
  } catch (error) {
    await mesh.stop();
    throw error;
  }
}

async function fill(mesh: Mesh): Promise<Field> {
  const [client, middle, app] = [mesh.address(), mesh.address(), mesh.address()];
  const at: Record<ProxyName, Address> = {
    culvert: { host: mesh.inside(client), port: LISTEN_PORT },
    envoy: { host: mesh.address(), port: LISTEN_PORT },
    nginx: { host: mesh.address(), port: LISTEN_PORT },
    haproxy: { host: mesh.address(), port: LISTEN_PORT },
  };
  const behind = { host: app, port: APP_PORT };
  const recorder = await mesh.with(startRecorder(app, APP_PORT));
  mesh.write("mesh", [
    service("app", [{ name: "http", port: 80, targetPort: APP_PORT, appProtocol: "http" }], {
      labels: { "istio.io/use-waypoint": "waypoint" },
      clusterIP: "10.96.0.10",
    }),
    workloadEntry("app", app, { serviceAccount: "app" }),
    workloadEntry("client", client, { serviceAccount: "client" }),
    ...waypoint("waypoint", middle, { serviceAccount: "waypoint" }),
  ]);
  const listen = `${at.culvert.host}:${at.culvert.port}`;
  await Promise.all([
    mesh.uproxy({ name: "app", address: app }),
    mesh.waypoint({ name: "waypoint", address: middle, gateway: "waypoint" }),
    mesh.uproxy({ name: "client", address: client, listeners: [{ listen, to: "app:80" }] }),
    startedProxy(mesh, spawnEnvoyProxy(mesh.folder, at.envoy, behind), at.envoy),
    startedProxy(mesh, spawnNginxProxy(mesh.folder, at.nginx, behind), at.nginx),
    startedProxy(mesh, spawnHaproxy(mesh.folder, at.haproxy, behind), at.haproxy),
  ]);
  return { recorder, at, stop: () => mesh.stop() };
}

async function startedProxy(mesh: Mesh, program: Program, { host, port }: Address): Promise<void> {
  await mesh.with(Promise.resolve(program));
  await program.watch("the listener", () => accepts(host, port));
}

function spawnEnvoyProxy(folder: string, listen: Address, app: Address): Program {
  return spawnEnvoy({ name: "envoy", folder, parts: [envoyRouter({ listen, app })] });
}

function spawnNginxProxy(folder: string, listen: Address, app: Address): Program {
  const own = join(folder, "nginx");
  mkdirSync(own, { recursive: true });
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${own}/${name};`);
  const file = join(own, "nginx.conf");
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${own}/pid; error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off; ${paths.join(" ")}
  upstream app { server ${app.host}:${app.port}; keepalive 64; }
  server {
    listen ${listen.host}:${listen.port};
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; }
  }
}
`,
  );
  const args = ["-p", own, "-c", file, "-e", "stderr"];
  return startProgram({ name: "nginx", command: command("nginx"), args, stopSignal: "SIGQUIT" });
}

function spawnHaproxy(folder: string, listen: Address, app: Address): Program {
  const file = join(folder, "haproxy.cfg");
  writeFileSync(
    file,
    `global
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend in
  bind ${listen.host}:${listen.port}
  default_backend app
backend app
  server app ${app.host}:${app.port}
`,
  );
  return startProgram({ name: "haproxy", command: command("haproxy"), args: ["-db", "-f", file] });
}
