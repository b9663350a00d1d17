// Machine. `pnpm bench on-demand [--short]`: what a uproxy holds when the authority's mesh grows and its own peers do not, and what the
// first connection to a destination waits for.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { echo, startTcpApp } from "../support/apps.ts";
import { ConfigAuthority } from "../support/config-authority.ts";
import { ask } from "../support/http.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { memory } from "../support/proc.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { dial } from "../support/tcp.ts";
import { observe, until } from "../support/until.ts";

const ECHO = 7001;
/** Services that the client talks to, all before one application. */
const PEERS = 20;
/** Workloads of a file, and of a service. */
const PER_FILE = 2_500;
const PER_SERVICE = 10;
/** Memory is given back after five seconds of quiet. */
const SETTLE_MS = 8_000;

/** The largest mesh is read in about half a minute. */
const READ_MS = 300_000;

interface Figures {
  readonly workloads: number;
  /** MiB. */
  readonly anon: number;
  readonly documents: number;
  /** From the request for a connection to its answer, milliseconds, medians: the first to a destination, and the second. */
  readonly first: number;
  readonly second: number;
}

/** Runs the bench and prints what it found. */
export async function benchOnDemand(short: boolean): Promise<void> {
  const sizes = short ? [10, 10_000] : [10, 1_000, 10_000, 100_000];
  const found: Figures[] = [];
  for (const size of sizes) {
    const mesh = await startMesh();
    try {
      found.push(await measure(mesh, size));
    } finally {
      await mesh.stop();
    }
  }
  const [least] = found;
  const lines = [
    `Node ${process.version}, one uproxy with ${PEERS} destinations, resources from the authority`,
    ...found.map(
      ({ workloads, anon, documents, first, second }) =>
        `${String(workloads).padStart(7)} workloads: uproxy RssAnon ${anon.toFixed(1)} MiB, ${documents} documents; ` +
        `first connection to a destination ${first.toFixed(2)} ms, the next ${second.toFixed(2)} ms`,
    ),
    `growth from ${least?.workloads} to ${found.at(-1)?.workloads} workloads: ${((found.at(-1)?.anon ?? 0) - (least?.anon ?? 0)).toFixed(1)} MiB`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

async function measure(mesh: Mesh, workloads: number): Promise<Figures> {
  const [client, app] = [mesh.address(), mesh.address()];
  mesh.write("mesh", [
    workloadEntry("app", app, { serviceAccount: "app" }),
    workloadEntry("client", client, { serviceAccount: "client" }),
    ...Array.from({ length: PEERS }, (_, index) =>
      service(`peer-${index}`, [{ name: "tcp", port: ECHO }], { app: "app" }),
    ),
  ]);
  writeStrangers(mesh.resources, workloads);
  const authority = await ConfigAuthority.start(mesh, { deadlineMs: READ_MS });
  await mesh.with(startTcpApp(app, ECHO, echo));
  await mesh.uproxy({ name: "app", address: app, config: await authority.proxyConfig("app") });
  const proxy = await mesh.uproxy({ name: "client", address: client, config: await authority.proxyConfig("client") });
  // Session and code are warm before anything is measured.
  await connect(proxy, 0);
  await connect(proxy, 0);
  const [first, second]: [number[], number[]] = [[], []];
  for (let peer = 1; peer < PEERS; peer += 1) {
    first.push(await connect(proxy, peer));
    second.push(await connect(proxy, peer));
  }
  await observe(SETTLE_MS);
  const { body } = await ask(`http://${proxy.admin}/config_dump`);
  const { source } = JSON.parse(body) as { readonly source: { readonly stream: { readonly documents: number } } };
  const { anon } = memory(proxy.program.pid);
  return { workloads, anon, documents: source.stream.documents, first: median(first), second: median(second) };
}

/** Workloads, and a service for every few of them, that the client has nothing to do with. */
function writeStrangers(folder: string, count: number): void {
  for (let start = 0; start < count; start += PER_FILE) {
    const documents: string[] = [];
    for (let index = start; index < Math.min(count, start + PER_FILE); index += 1) {
      const group = Math.floor(index / PER_SERVICE);
      const address = `10.${100 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
      documents.push(
        `{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: w-${index}, namespace: others, labels: {app: a-${group}}}, spec: {address: ${address}, serviceAccount: a}}`,
      );
      if (index % PER_SERVICE > 0) continue;
      documents.push(
        `{apiVersion: v1, kind: Service, metadata: {name: s-${group}, namespace: others}, spec: {selector: {app: a-${group}}, ports: [{port: 80}]}}`,
      );
    }
    writeFileSync(join(folder, `strangers-${start}.yaml`), documents.join("\n---\n"));
  }
}

/** Connects, and says how long the answer took, milliseconds. */
async function connect(proxy: Proxy, peer: number): Promise<number> {
  const connection = await dial(proxy.inside, proxy.ports.proxy);
  const to = `peer-${peer}:${ECHO}`;
  const began = performance.now();
  connection.send(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`);
  const head = String(await connection.bytes(1));
  const took = performance.now() - began;
  if (!head.startsWith("HTTP/1.1 200")) throw new Error(head);
  await until("the whole head", () => connection.received.includes("\r\n\r\n"));
  connection.close();
  return took;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
