// Machine. A mesh under test: real uproxies and waypoints with identities, resources and configuration written for them, each
// workload on an address of its own (see `loopback.ts`). `stop` ends all of it and holds every program to a clean end.
import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import type { App } from "./apps.ts";
import { command } from "./env.ts";
import { ask } from "./http.ts";
import { MeshAuthority, type IdentityFiles, type IssueOptions } from "./identities.ts";
import { reserveSubnet, type Subnet } from "./loopback.ts";
import type { Program } from "./process.ts";
import { within } from "./until.ts";
import { spawnWithConfig, writeResources } from "./programs.ts";
import type { Resource } from "./resources.ts";

/** The ports of one proxy. */
export interface Ports {
  readonly hbone: number;
  readonly proxy: number;
  readonly admin: number;
  readonly readiness: number;
  readonly metrics: number;
}

/** The usual ports; every workload has them on its own address. */
export const PORTS: Ports = { hbone: 15008, proxy: 15080, admin: 15000, readiness: 15021, metrics: 15020 };

/** Of a second proxy at the same address: a waypoint beside a uproxy in one pod. */
export const SIDECAR_PORTS: Ports = { hbone: 25008, proxy: 25080, admin: 25000, readiness: 25021, metrics: 25020 };

/** How long a start may take where several programs start together. */
const START_MS = 30_000;

/** One line of a program's log. */
export type LogLine = Readonly<Record<string, unknown>>;

/** How a proxy of the mesh is started. */
export interface ProxyOptions {
  /** Name of the workload, of the account unless `account` says another, and of the files. */
  readonly name: string;
  readonly address: string;
  readonly account?: string;
  /** The identity that somebody has issued already, where others have it too. */
  readonly identity?: IdentityFiles;
  /** Others run with the same account: it has a certificate of its own. */
  readonly sharesAccount?: boolean;
  readonly namespace?: string;
  /** Other than the usual ones. */
  readonly ports?: Ports;
  /** `outbound.listeners`. */
  readonly listeners?: readonly { readonly listen: string; readonly to: string; readonly prewarm?: boolean }[];
  /** Keys over the defaults, whole top-level keys at a time. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Command in front of the program, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
  /** The one that runs with the same options: it drains and ends once this one is ready. */
  readonly takeover?: Proxy;
  /** Of the command, beside `--config`. */
  readonly flags?: readonly string[];
  /** The user id, and group id, that it runs as, without any capability but `capability`; otherwise the test's own. */
  readonly user?: number;
  /** Such as `net_admin`. */
  readonly capability?: string;
}

/** A uproxy or waypoint that runs. */
export class Proxy {
  readonly name: string;
  readonly address: string;
  /** Where it has the ports that are for its own host only; the same as `address` with IPv4. */
  readonly inside: string;
  readonly ports: Ports;
  readonly program: Program;
  /** Set when the test ends it in a way that is not clean. */
  killed = false;

  constructor(name: string, address: string, inside: string, ports: Ports, program: Program) {
    this.name = name;
    this.address = address;
    this.inside = inside;
    this.ports = ports;
    this.program = program;
  }

  /** `host:port` of the admin port. */
  get admin(): string {
    return hostPort(this.inside, this.ports.admin);
  }

  /** The log so far. */
  get log(): LogLine[] {
    return this.program.output.map((line) => JSON.parse(line) as LogLine);
  }

  /** Waits for a log line that has all of `fields`. */
  async logged(fields: LogLine): Promise<LogLine> {
    return this.program.watch(`a log line with ${JSON.stringify(fields)}`, () =>
      this.log.find((line) => Object.entries(fields).every(([key, value]) => line[key] === value)),
    );
  }

  /** Waits for the access-log line of a connection or request that has all of `fields`. */
  access(fields: LogLine): Promise<LogLine> {
    return this.logged({ target: "access", ...fields });
  }

  async ready(): Promise<void> {
    await this.program.watch("readiness", async () => {
      const { status } = await ask(`http://${hostPort(this.address, this.ports.readiness)}/healthz/ready`);
      return status === 200;
    });
  }

  async kill(): Promise<void> {
    this.killed = true;
    await this.program.kill();
  }
}

/** A mesh. Make it with `startMesh`. */
export class Mesh {
  /** Everything that the mesh has on disk. */
  readonly folder: string;
  readonly #authority: MeshAuthority;
  readonly #subnet: Subnet;
  readonly #proxies: Proxy[] = [];
  readonly #endings: (() => Promise<unknown>)[] = [];
  readonly #insides = new Map<string, string>();
  #addresses = 0;

  constructor(folder: string, authority: MeshAuthority, subnet: Subnet) {
    this.folder = folder;
    this.#authority = authority;
    this.#subnet = subnet;
  }

  /** The folder of resources that all proxies watch. */
  get resources(): string {
    return join(this.folder, "mesh");
  }

  /** An address that nothing else uses. */
  address(): string {
    this.#addresses += 1;
    const address = this.#subnet.address(this.#addresses);
    this.#insides.set(address, this.#subnet.inside(this.#addresses));
    return address;
  }

  /** Where the workload at an address has what is for its own host only: explicit listeners, proxy and admin port. */
  inside(address: string): string {
    return this.#insides.get(address) ?? address;
  }

  /** Issues the identity of an account, or the next one in its place, for a user other than the test's own where one is given. */
  async issue(account: string, options?: IssueOptions & { readonly user?: number }): Promise<IdentityFiles> {
    const identity = await this.#authority.issue(join(this.folder, "identities"), account, options);
    if (options?.user !== undefined) this.#handOver(identity, options.user);
    return identity;
  }

  /** Writes the authority into a folder of its own, and returns that. */
  async writeAuthority(): Promise<string> {
    const folder = join(this.folder, "ca");
    await this.#authority.write(folder);
    return folder;
  }

  /** Writes a file of resources; running proxies take it into use. */
  write(name: string, resources: readonly Resource[]): void {
    writeResources(this.resources, name, resources);
  }

  /** Removes a file of resources. */
  remove(name: string): void {
    rmSync(join(this.resources, `${name}.yaml`));
  }

  /** Hands over something to be stopped with the mesh: an app, an Envoy. */
  async with<T extends App | Program>(starting: Promise<T>): Promise<T> {
    const started = await starting;
    this.#endings.push(() => started.stop());
    return started;
  }

  /** Runs at the end, after everything that was handed over later. */
  atEnd(ending: () => Promise<unknown>): void {
    this.#endings.push(ending);
  }

  /** Starts a uproxy and waits until it is ready. */
  async uproxy(options: ProxyOptions): Promise<Proxy> {
    const { name, address, namespace = "default", listeners = [], ports = PORTS } = options;
    return this.#start("uproxy", options, {
      workload: { namespace, name },
      inbound: { hbone: hostPort(address, ports.hbone) },
      outbound: { listeners, proxy: hostPort(this.inside(address), ports.proxy) },
    });
  }

  /** Starts an instance of a waypoint and waits until it is ready. */
  async waypoint(options: ProxyOptions & { readonly gateway: string }): Promise<Proxy> {
    const { address, namespace = "default", gateway, ports = PORTS } = options;
    return this.#start("waypoint", options, {
      gateway: { namespace, name: gateway },
      hbone: hostPort(address, ports.hbone),
    });
  }

  async #start(kind: "uproxy" | "waypoint", options: ProxyOptions, own: object): Promise<Proxy> {
    const { name, address, account = name, namespace = "default", ports = PORTS } = options;
    const { config = {}, prefix = [], user } = options;
    const identity =
      options.identity ??
      (await (options.sharesAccount === true
        ? this.#authority.issue(join(this.folder, "identities-of", name), account, { namespace })
        : this.issue(account, { namespace })));
    if (user !== undefined) this.#handOver(identity, user);
    const inside = this.inside(address);
    const program = spawnWithConfig(kind, {
      name,
      folder: this.folder,
      prefix: user === undefined ? prefix : [...prefix, ...asUser(user, options.capability)],
      options: [...(options.flags ?? []), ...(options.takeover === undefined ? [] : ["--takeover"])],
      config: {
        identity: { files: identity.folder },
        resources: { files: this.resources },
        ...own,
        admin: hostPort(inside, ports.admin),
        readiness: hostPort(address, ports.readiness),
        metrics: hostPort(address, ports.metrics),
        drain: { timeout: "1s" },
        log: { level: "debug" },
        ...config,
      },
    });
    const proxy = new Proxy(name, address, inside, ports, program);
    this.#proxies.push(proxy);
    // Readiness may be answered by the one before.
    if (options.takeover !== undefined) await this.#takenOver(proxy, options.takeover);
    // Another host could be asked only by a program that runs there.
    else if (prefix.includes("netns")) await program.line(/"message":"ready"/, START_MS);
    else await proxy.ready();
    return proxy;
  }

  async #takenOver(proxy: Proxy, before: Proxy): Promise<void> {
    before.program.asked = true;
    await proxy.logged({ message: "ready" });
    const { code } = await within(`the end of ${before.name}`, before.program.exited);
    assert.equal(code, 0, before.program.describe("did not end cleanly"));
  }

  /** Lets an ordinary user read an identity, and what else a proxy reads. */
  #handOver(identity: IdentityFiles, user: number): void {
    chmodSync(this.folder, 0o711);
    chmodSync(dirname(identity.folder), 0o711);
    for (const path of [identity.folder, identity.certificate, identity.key, identity.bundle]) {
      chownSync(path, user, user);
    }
  }

  /** Ends everything. Each proxy must end with exit code 0, must have logged JSON only, and nothing on standard error. */
  async stop(): Promise<void> {
    const early = this.#proxies.filter(({ program }) => program.exit !== undefined && !program.asked);
    try {
      await Promise.all(this.#proxies.map((proxy) => proxy.program.stop()));
      for (const ending of this.#endings.toReversed()) await ending();
      for (const { program, killed } of early) assert.ok(killed, program.describe("ended though nobody asked it to"));
      for (const proxy of this.#proxies.filter(({ killed }) => !killed)) {
        const { program } = proxy;
        assert.equal(program.exit?.code, 0, program.describe("did not end cleanly"));
        assert.deepEqual(program.errors, [], `${proxy.name} wrote to standard error`);
        assert.ok(proxy.log.length > 0, `${proxy.name} logged nothing`);
        assert.deepEqual(
          proxy.log.filter(({ code }) => code === "INTERNAL"),
          [],
          `${proxy.name} logged a defect`,
        );
      }
    } finally {
      await this.#subnet.release();
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}

/** What stands in front of a command that is to run as an ordinary user, with at most one capability. */
export function asUser(user: number, capability?: string): readonly string[] {
  const ids = [`--reuid=${user}`, `--regid=${user}`, "--clear-groups"];
  const kept = capability === undefined ? "" : `,+${capability}`;
  const capabilities = [`--inh-caps=-all${kept}`, `--bounding-set=-all${kept}`];
  if (capability !== undefined) capabilities.push(`--ambient-caps=+${capability}`);
  return [command("setpriv"), ...ids, ...capabilities, "--no-new-privs"];
}

/** An empty mesh with an authority. */
export async function startMesh(): Promise<Mesh> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-mesh-"));
  return new Mesh(folder, await MeshAuthority.create(), await reserveSubnet());
}
