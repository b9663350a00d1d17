// Root. `pnpm bench in-process`: one Node service that calls another, in one run, interleaved: without any mesh, with a uproxy beside each, and
// in the mesh by themselves. Costs are those of all processes together, the services included.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { ask } from "../support/http.ts";
import { identityOf } from "../support/identities.ts";
import { memory } from "../support/proc.ts";
import { startProgram, type Program } from "../support/process.ts";
import { writeResources } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { accepts } from "../support/tcp.ts";
import { observe } from "../support/until.ts";
import type { Effort } from "./effort.ts";
import type { By, InProcessApp, Load } from "./in-process-app.ts";
import { spending } from "./load.ts";
import { spawnUproxy } from "./pair-subjects.ts";
import type { Column } from "./report.ts";
import type { Measurement } from "./rounds.ts";
import type { Place, Running, Subject } from "./subject.ts";

const HTTP = 8080;
const BULK = 5201;
const HBONE = 15008;
const CONTROL = 8000;
const IN_FLIGHT = 16;
const US_PER_MS = 1000;
const MIB = 1024 * 1024;

/** Where everything is: a host for each service, and one for the client's orders. */
function hostsOf(place: Place): { readonly client: string; readonly server: string; readonly control: string } {
  return { client: place.address(0), server: place.address(1), control: place.address(2) };
}

function spawnApp(place: Place, app: InProcessApp): Program {
  mkdirSync(place.folder, { recursive: true });
  const file = join(place.folder, `${app.role}.json`);
  writeFileSync(file, JSON.stringify(app));
  const script = join(import.meta.dirname, "in-process-app.ts");
  return startProgram({ name: app.role, command: process.execPath, args: [script, file], keep: 100 });
}

async function startServer(place: Place, mesh?: InProcessApp["mesh"]): Promise<Program> {
  const { server: host } = hostsOf(place);
  const program = spawnApp(place, { role: "server", host, http: HTTP, bulk: BULK, ...(mesh && { mesh }) });
  await program.line(/^listening$/);
  return program;
}

/** Not waited for. */
function spawnClient(place: Place, host: string, mesh?: InProcessApp["mesh"]): Program {
  const control = { host: hostsOf(place).control, port: CONTROL };
  return spawnApp(place, { role: "client", host, http: HTTP, bulk: BULK, control, ...(mesh && { mesh }) });
}

function running(place: Place, parts: Readonly<Record<string, Program>>): Running {
  return { http: { host: hostsOf(place).control, port: CONTROL }, parts: new Map(Object.entries(parts)) };
}

/** The same for the uproxies and for the services themselves. */
function writeMesh(place: Place): string {
  const { client, server } = hostsOf(place);
  const resources = join(place.folder, "mesh");
  writeResources(resources, "mesh", [
    service("app", [
      { name: "http", port: HTTP },
      { name: "tcp-bulk", port: BULK },
    ]),
    workloadEntry("app", server, { serviceAccount: "app" }),
    workloadEntry("client", client, { serviceAccount: "client" }),
  ]);
  return resources;
}

const plain: Subject = {
  name: "no mesh",
  about: "node:http, undici and node:net at both ends",
  async start(place) {
    const server = await startServer(place);
    return running(place, { server, client: spawnClient(place, hostsOf(place).server) });
  },
};

const beside: Subject = {
  name: "uproxy beside",
  about: "the same services, with a uproxy beside each (explicit listeners, as shipped)",
  async start(place) {
    const { client: near, server: far } = hostsOf(place);
    writeMesh(place);
    const server = await startServer(place);
    const serverProxy = spawnUproxy(place, "app", far, []);
    await serverProxy.watch("the tunnel listener", () => accepts(far, HBONE));
    const listeners = [HTTP, BULK].map((port) => ({ listen: `${near}:${port}`, to: `app.default:${port}` }));
    const clientProxy = spawnUproxy(place, "client", near, listeners);
    await clientProxy.watch("a listener", () => accepts(near, HTTP));
    return running(place, { server, serverProxy, clientProxy, client: spawnClient(place, near) });
  },
};

const inside: Subject = {
  name: "in the process",
  about: "the same services in the mesh by themselves (@culvert/in-process), access log on",
  async start(place) {
    const { client, server: far } = hostsOf(place);
    const resources = { files: writeMesh(place) };
    const mesh = (name: string, host: string): NonNullable<InProcessApp["mesh"]> => ({
      identity: { files: identityOf(place.identities, name).folder },
      resources,
      workload: { name },
      inbound: { hbone: `${host}:${HBONE}` },
    });
    const server = await startServer(place, mesh("app", far));
    return running(place, { server, client: spawnClient(place, "app", mesh("client", client)) });
  },
};

/** Who takes part. */
export const IN_PROCESS_SUBJECTS: readonly Subject[] = [plain, beside, inside];

/** When the last load of each ended, monotonic. */
const loadedUntil = new WeakMap<Running, number>();

async function order(subject: Running, path: string): Promise<Load> {
  const { host, port } = subject.http;
  const { status, body } = await ask(`http://${host}:${port}${path}`);
  loadedUntil.set(subject, systemClock.monotonic());
  if (status !== 200) throw new Error(`${path} answered ${status}: ${body}`);
  return JSON.parse(body) as Load;
}

/** Length of each load; half of it goes before, for what is compiled while it runs. */
function loadMs({ rateS }: Effort): number {
  return (rateS * 1000) / 4;
}

function requests(name: string, by: By, inFlight: number, effort: Effort): Measurement {
  const path = `/requests?by=${by}&inFlight=${inFlight}`;
  return {
    name,
    async measure(subject) {
      const ms = loadMs(effort);
      await order(subject, `${path}&ms=${ms / 2}`);
      const { result, spent } = await spending(subject, () => order(subject, `${path}&ms=${ms}`));
      return {
        [`${name} /s`]: (result.count * 1000) / ms,
        [`${name} p50`]: result.p50Ms,
        [`${name} us`]: (spent.totalMs * US_PER_MS) / result.count,
      };
    },
  };
}

/** What is measured, in this order. */
export function inProcessMeasurements(effort: Effort): Measurement[] {
  return [
    requests("alone", "agent", 1, effort),
    requests("agent", "agent", IN_FLIGHT, effort),
    requests("dispatcher", "dispatcher", IN_FLIGHT, effort),
    requests("connections", "connections", IN_FLIGHT, effort),
    {
      name: "bulk",
      async measure(subject) {
        const ms = loadMs(effort);
        await order(subject, `/bulk?ms=${ms / 2}`);
        const { result, spent } = await spending(subject, () => order(subject, `/bulk?ms=${ms}`));
        const mib = result.bytes / MIB;
        return { "bulk MiB/s": (mib * 1000) / ms, "bulk ms": spent.totalMs / mib };
      },
    },
    {
      name: "memory",
      async measure(subject) {
        // The others have been quiet meanwhile.
        const quietMs = systemClock.monotonic() - (loadedUntil.get(subject) ?? 0);
        await observe(Math.max(0, effort.settleMs - quietMs));
        const all = [...subject.parts].map(([part, { pid }]) => ({ part, anon: memory(pid).anon }));
        const sum = (of: (part: string) => boolean): number =>
          all.reduce((total, { part, anon }) => total + (of(part) ? anon : 0), 0);
        return { "anon all": sum(() => true), "anon client": sum((part) => part.startsWith("client")) };
      },
    },
  ];
}

function perRequest(name: string, heading: string): Column[] {
  return [
    { figure: `${name} /s`, heading: `${heading}/s`, decimals: 0 },
    { figure: `${name} p50`, heading: "p50 ms", decimals: 2 },
    { figure: `${name} us`, heading: "CPU us", decimals: 0 },
  ];
}

/** What is shown. */
export const IN_PROCESS_TABLES: readonly { readonly title: string; readonly columns: readonly Column[] }[] = [
  {
    title: `One request after another, and ${IN_FLIGHT} at a time, by an http.Agent that keeps connections; CPU of all processes for each`,
    columns: [...perRequest("alone", "alone"), ...perRequest("agent", `${IN_FLIGHT} at a time`)],
  },
  {
    title: `${IN_FLIGHT} at a time by an undici dispatcher, and each over a connection of its own`,
    columns: [...perRequest("dispatcher", "dispatcher"), ...perRequest("connections", "connections")],
  },
  {
    title:
      "One connection that is read as fast as may be; RssAnon after all of it, of all processes and of the calling side",
    columns: [
      { figure: "bulk MiB/s", heading: "MiB/s", decimals: 0 },
      { figure: "bulk ms", heading: "CPU ms/MiB", decimals: 2 },
      { figure: "anon all", heading: "MiB of all", decimals: 0 },
      { figure: "anon client", heading: "MiB of the caller", decimals: 0 },
    ],
  },
];
