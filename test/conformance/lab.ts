// Machine. The world of the conformance suite on hosts of their own: pods with an echo app behind a real uproxy that captures what they
// send and receive, names that resolve as in a cluster, and a real waypoint. Two kinds of echo app: our own, which tells bytes, and Istio's.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { command } from "../support/env.ts";
import { startLab, type Lab } from "../support/lab.ts";
import type { Proxy } from "../support/mesh.ts";
import type { Host } from "../support/netns.ts";
import type { Program } from "../support/process.ts";
import { service, waypoint, workloadEntry, type Resource } from "../support/resources.ts";
import { DEADLINE_MS, until, within } from "../support/until.ts";
import { readWorld, type Ask } from "./case.ts";
import type { Answer, Done, Job } from "./job.ts";
import { partsOf } from "./judge.ts";
import { isPodName, MESH, PODS, type PodName } from "./pods.ts";

/** Which echo app the pods have. */
export type EchoKind = "own" | "istio";

/** What uproxy runs as. */
const PROXY = 1337;
/** Addresses of services are taken from here; nobody answers at them. */
const VIRTUAL = "10.96.0.0/16";
/** A resolver that nobody answers at: questions are answered on their way. */
const RESOLVER = "10.96.0.53";

/** A pod that runs. */
interface Pod {
  readonly host: Host;
  readonly echo: Program;
  readonly client: Client;
}

/** Asks `client-process.ts` in a pod. */
class Client {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (answers: readonly Answer[]) => void>();
  #last = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    createInterface({ input: socket }).on("line", (text) => {
      const { id, answers } = JSON.parse(text) as Done;
      this.#waiting.get(id)?.(answers);
      this.#waiting.delete(id);
    });
  }

  ask(job: Omit<Job, "id">, deadlineMs: number): Promise<readonly Answer[]> {
    const id = (this.#last += 1);
    const answers = new Promise<readonly Answer[]>((resolve) => this.#waiting.set(id, resolve));
    this.#socket.write(`${JSON.stringify({ ...job, id })}\n`);
    return within(`answers to ${job.method} ${job.authority}${job.target}`, answers, deadlineMs);
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** The running world. Make it with `startConformanceLab`. */
export class ConformanceLab {
  readonly #lab: Lab;
  readonly waypoint: Proxy;
  readonly #pods: ReadonlyMap<PodName, Pod>;
  readonly #admin: string;
  #markers = 0;

  constructor(lab: Lab, proxy: Proxy, pods: ReadonlyMap<PodName, Pod>, admin: string) {
    this.#lab = lab;
    this.waypoint = proxy;
    this.#pods = pods;
    this.#admin = admin;
  }

  #pod(name: PodName): Pod {
    const pod = this.#pods.get(name);
    if (pod === undefined) throw new Error(`no pod ${name}`);
    return pod;
  }

  /** Puts the resources of a case in the place of those before, and waits until the waypoint has them in use. */
  async put(resources: readonly Resource[]): Promise<void> {
    const marker = `marker-${(this.#markers += 1)}`;
    this.#lab.mesh.write("case", [...resources, service(marker, [{ name: "http", port: 1 }], { namespace: MESH })]);
    await this.waypoint.program.watch(`${marker} in use`, async () => {
      const { services } = (await this.configDump()) as { services: Readonly<Record<string, unknown>> };
      return services[`${MESH}/${marker}`] !== undefined;
    });
  }

  /** What the waypoint tells of the resources that it has in use. */
  async configDump(): Promise<unknown> {
    return JSON.parse(await this.#get("/config_dump"));
  }

  #get(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ socketPath: this.#admin, path, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
      });
      outgoing.on("error", reject);
      outgoing.end();
    });
  }

  /** A request's URL with the addresses of pods, and a new word, put in. */
  urlOf(ask: Ask): string {
    return ask.url.replace(/\{([a-z0-9-]+)\}/g, (_, name: string) =>
      isPodName(name) ? this.#pod(name).host.address : randomUUID(),
    );
  }

  /** Makes a request from its pod, so many times. `url` is in place of the one that it has. */
  ask(ask: Ask, count = 1, url: string = this.urlOf(ask)): Promise<readonly Answer[]> {
    const { host, port, authority, target } = partsOf(url);
    const job: Omit<Job, "id"> = {
      kind: kindOf(ask),
      host,
      port,
      authority: ask.host ?? authority,
      method: ask.method,
      target,
      headers: ask.headers,
      body: ask.body ?? "",
      count,
    };
    return this.#pod(ask.from).client.ask(job, DEADLINE_MS + count * 100);
  }

  /** How many requests with this text a pod's echo app has told of. */
  told(name: PodName, text: string): number {
    return this.#pod(name).echo.output.filter((line) => line.includes(text)).length;
  }

  async stop(): Promise<void> {
    for (const { client } of this.#pods.values()) client.close();
    await this.#lab.stop();
  }
}

function kindOf({ url, http }: Ask): Job["kind"] {
  if (url.startsWith("grpc:")) return "grpc";
  if (url.startsWith("ws:")) return "websocket";
  if (url.startsWith("tcp:")) return "tcp";
  return http === "2" ? "http2" : "http1";
}

/** Starts everything, in a few seconds. */
export async function startConformanceLab(kind: EchoKind): Promise<ConformanceLab> {
  const lab = await startLab();
  try {
    return await fill(lab, kind);
  } catch (error) {
    await lab.stop();
    throw error;
  }
}

async function fill(lab: Lab, kind: EchoKind): Promise<ConformanceLab> {
  // UNIX sockets know no network namespaces, so what is inside can be asked from here.
  const sockets = mkdtempSync(join(tmpdir(), "culvert-conformance-"));
  chmodSync(sockets, 0o777);
  lab.mesh.atEnd(async () => rmSync(sockets, { recursive: true, force: true }));
  const names = Object.keys(PODS) as PodName[];
  const hosts = new Map<PodName, Host>();
  for (const name of names) hosts.set(name, await lab.host());
  const own = await lab.host();
  lab.mesh.write("world", [
    ...readWorld("world"),
    ...[...hosts].map(([name, { address }]) => {
      const { labels, namespace, name: pod } = PODS[name];
      return workloadEntry(pod, address, { namespace, labels, serviceAccount: name });
    }),
    ...waypoint("waypoint", own.address, { namespace: MESH, serviceAccount: "waypoint" }),
  ]);
  const admin = join(sockets, "waypoint");
  const running = lab.mesh.waypoint({
    name: "waypoint",
    address: own.address,
    prefix: own.prefix,
    namespace: MESH,
    gateway: "waypoint",
    config: { hbone: ":15008", admin: `unix:${admin}`, readiness: undefined, metrics: undefined },
  });
  const pods = new Map(
    await Promise.all(
      [...hosts].map(async ([name, host]) => [name, await startPod(lab, kind, name, host, sockets)] as const),
    ),
  );
  return new ConformanceLab(lab, await running, pods, admin);
}

async function startPod(lab: Lab, kind: EchoKind, name: PodName, host: Host, sockets: string): Promise<Pod> {
  const { namespace, name: pod } = PODS[name];
  await lab.done(host, "ip", "route", "add", VIRTUAL, "dev", "eth0");
  lab.network.resolvConf(
    host,
    `nameserver ${RESOLVER}\nsearch ${namespace}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n`,
  );
  const echo = kind === "own" ? await ownEcho(lab, host, pod) : await istioEcho(lab, host, pod, PODS[name].labels);
  await lab.uproxy(
    name,
    host,
    { inbound: { plaintext: ":15006" }, outbound: { transparent: ":15001" }, dns: "localhost:15053" },
    { namespace, user: PROXY },
  );
  await lab.capture(host, "apply", name);
  const path = join(sockets, name);
  const script = join(import.meta.dirname, "client-process.ts");
  await lab.start(`client of ${name}`, host, /^ready$/, process.execPath, script, path);
  const socket = connect(path);
  await once(socket, "connect");
  return { host, echo, client: new Client(socket) };
}

function ownEcho(lab: Lab, host: Host, pod: string): Promise<Program> {
  const script = join(import.meta.dirname, "echo-process.ts");
  return lab.start(`echo of ${pod}`, host, /^ready$/, process.execPath, script, pod);
}

/** Istio's server tells the name of its host: it gets one of its own. */
async function istioEcho(
  lab: Lab,
  host: Host,
  pod: string,
  { version = "" }: Readonly<Record<string, string>>,
): Promise<Program> {
  const script = `echo ${pod} >/proc/sys/kernel/hostname; exec "$0" "$@"`;
  const args = ["--tcp=9090", "--port=8080", "--grpc=7070", `--version=${version}`, "--metrics=15014"];
  const words = ["--uts", "sh", "-c", script, command("istio-echo-server"), ...args];
  const echo = await lab.start(`echo of ${pod}`, host, /./, "unshare", ...words);
  await until(`the echo of ${pod}`, async () => (await lab.curl(host, "http://127.0.0.1:8080/")).stdout.includes(pod));
  return echo;
}
