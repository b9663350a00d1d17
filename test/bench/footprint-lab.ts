// Machine. What the footprint is measured on: the bundled uproxy at two ends, an app, and addresses that only a peer of the bench
// listens on.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { stringify } from "yaml";
import { REPOSITORY } from "../support/env.ts";
import { identityOf, mintIdentities } from "../support/identities.ts";
import type { Subnet } from "../support/loopback.ts";
import { cpuMs } from "../support/proc.ts";
import { startProgram, succeed, type Program } from "../support/process.ts";
import { commandLine, writeResources } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";

const READY = /"message":"ready"/;

/** Ports of the app, and of every uproxy. */
export const AT = { http: 8080, bulk: 5201, hbone: 15008, proxy: 15080, admin: 15000, ready: 15021, metrics: 15020 };
/** Accounts that open sessions to the app's end. */
export const CALLERS: readonly string[] = Array.from({ length: 20 }, (_, index) => `caller-${index + 1}`);
/** The account of all peers that the client's end opens sessions to. */
export const PEER = "peer";

/** Places of one run. */
export interface Lab {
  readonly folder: string;
  readonly bundle: string;
  readonly app: string;
  readonly client: string;
  /** Addresses with nothing behind them but a peer of the bench. */
  readonly peers: readonly string[];
}

/** Builds the bundle, and writes identities, resources and the configuration of both ends. */
export async function prepare(folder: string, ends: Subnet, others: Subnet, peers: number): Promise<Lab> {
  const bundles = join(folder, "bundles");
  await succeed(process.execPath, [join(REPOSITORY, "deploy/bundle/bundle.ts"), bundles]);
  const lab: Lab = {
    folder,
    bundle: join(bundles, "uproxy.mjs"),
    app: ends.address(1),
    client: ends.address(2),
    peers: Array.from({ length: peers }, (_, index) => others.address(index + 1)),
  };
  await mintIdentities(join(folder, "identities"), ["app", "client", PEER, ...CALLERS]);
  mkdirSync(join(folder, "mesh"));
  writeResources(join(folder, "mesh"), "mesh", [
    service("app", [
      { name: "http", port: AT.http },
      { name: "tcp-bulk", port: AT.bulk },
    ]),
    workloadEntry("app", lab.app, { serviceAccount: "app" }),
    workloadEntry("client", lab.client, { serviceAccount: "client" }),
  ]);
  for (const account of ["app", "client"] as const) writeConfig(lab, account);
  return lab;
}

/** The resources of the peers, which both ends take into use; a mesh of two is what the other figures are of. */
export function introducePeers({ folder, peers }: Lab): void {
  const entries = peers.map((address, index) => workloadEntry(`peer-${index + 1}`, address, { serviceAccount: PEER }));
  writeResources(join(folder, "mesh"), "peers", entries);
}

/** Takes the app's end's identity from the Workload API at `socket` instead of files, or from files again. */
export function takeIdentityFrom(lab: Lab, socket?: string): void {
  writeConfig(lab, "app", socket === undefined ? undefined : { workloadApi: `unix://${socket}` });
}

function writeConfig({ folder, app, client }: Lab, account: "app" | "client", identity?: unknown): void {
  const address = { app, client }[account];
  const listeners = [AT.http, AT.bulk].map((port) => ({ listen: `${client}:${port}`, to: `app.default:${port}` }));
  const config = {
    workload: { namespace: "default", name: account },
    identity: identity ?? { files: identityOf(join(folder, "identities"), account).folder },
    resources: { files: join(folder, "mesh") },
    inbound: { hbone: `${address}:${AT.hbone}` },
    outbound: { listeners: account === "client" ? listeners : [], proxy: `${address}:${AT.proxy}` },
    admin: `${address}:${AT.admin}`,
    readiness: `${address}:${AT.ready}`,
    metrics: `${address}:${AT.metrics}`,
  };
  writeFileSync(join(folder, `${account}.yaml`), stringify(config));
}

/** An end that runs, and what its start took. */
export interface Started {
  readonly program: Program;
  readonly readyMs: number;
  readonly cpuMs: number;
}

/** Starts an end from the bundle, by the flags that its first line names. */
export async function start({ folder, bundle }: Lab, account: "app" | "client"): Promise<Started> {
  const line = commandLine("uproxy", ["run", "--config", join(folder, `${account}.yaml`)]);
  const args = line.args.map((arg) => (arg.endsWith("/uproxy.mjs") ? bundle : arg));
  const begun = systemClock.monotonic();
  const program = startProgram({ name: account, command: line.command, args, keep: 100 });
  await program.line(READY);
  return { program, readyMs: systemClock.monotonic() - begun, cpuMs: cpuMs([program.pid]) };
}
