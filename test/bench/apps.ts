// Machine. What the benches talk to: nginx with 100-byte answers, iperf3 servers, and nginx as a reverse proxy.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "../support/env.ts";
import type { Address } from "../support/envoy.ts";
import { startProgram, type Program } from "../support/process.ts";
import { accepts } from "../support/tcp.ts";

const ANSWER = "culvert bench ".repeat(8).slice(0, 100);

function nginxConfig(folder: string, server: string): string {
  return `
daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr warn;
events { worker_connections 16384; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  ${server}
}
`;
}

function spawnNginx(name: string, folder: string, server: string, prefix: readonly string[] = []): Program {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const file = join(own, "nginx.conf");
  writeFileSync(file, nginxConfig(own, server));
  const [first, ...args] = [...prefix, command("nginx"), "-p", own, "-c", file, "-e", "stderr"];
  return startProgram({ name, command: first, args });
}

/** An nginx that answers every request at any of the addresses with 100 bytes; at those of `http2` by prior knowledge. */
export async function startAnswering(
  folder: string,
  addresses: readonly Address[],
  http2: readonly Address[] = [],
): Promise<Program> {
  const plain = addresses.map(({ host, port }) => `listen ${host}:${port};`);
  const listens = [...plain, ...http2.map(({ host, port }) => `listen ${host}:${port} http2;`)].join(" ");
  const program = spawnNginx(
    "answering",
    folder,
    `server { ${listens} location / { default_type text/plain; return 200 "${ANSWER}"; } }`,
  );
  for (const { host, port } of [...addresses, ...http2]) await program.watch("a listener", () => accepts(host, port));
  return program;
}

/** The same on another host. Not waited for. */
export function spawnAnswering(folder: string, port: number, prefix: readonly string[]): Program {
  const server = `server { listen ${port}; location / { default_type text/plain; return 200 "${ANSWER}"; } }`;
  return spawnNginx(`answering-${port}`, folder, server, prefix);
}

/** An iperf3 server on another host. Not waited for. */
export function spawnIperf(port: number, prefix: readonly string[]): Program {
  const [first, ...args] = [...prefix, command("iperf3"), "-s", "-p", String(port)];
  return startProgram({ name: "iperf3", command: first, args, keep: 100 });
}

/** An nginx as plain reverse proxy with kept-alive upstream connections. Not waited for. */
export function spawnNginxProxy(folder: string, listen: Address, app: Address): Program {
  return spawnNginx(
    "nginx-proxy",
    folder,
    `upstream app { server ${app.host}:${app.port}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen ${listen.host}:${listen.port};
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }`,
  );
}

/** A gRPC server at all of the addresses. */
export async function startGrpc(addresses: readonly Address[]): Promise<Program> {
  const listens = addresses.map(({ host, port }) => `${host}:${port}`).join(",");
  const program = startProgram({ name: "grpc", command: command("grpc-load"), args: [`-listen=${listens}`] });
  for (const { host, port } of addresses) await program.watch("a listener", () => accepts(host, port));
  return program;
}

/** An iperf3 server. */
export async function startIperf({ host, port }: Address): Promise<Program> {
  const program = startProgram({
    name: "iperf3",
    command: command("iperf3"),
    args: ["-s", "-B", host, "-p", String(port)],
    keep: 100,
  });
  await program.watch("the listener", () => accepts(host, port));
  return program;
}
