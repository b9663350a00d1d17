// Machine. An authority that streams the resources of a mesh under test, and issues the identities of those that ask it.
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { dirname, join } from "node:path";
import { json } from "node:stream/consumers";
import { readRoots } from "@culvert/authority/state/authority-folder.ts";
import { initAuthority, startAuthority } from "./authority.ts";
import { issuerFromPem, type Issuer } from "./ca.ts";
import { ask } from "./http.ts";
import type { Mesh, Proxy } from "./mesh.ts";
import { must } from "./must.ts";
import type { Host } from "./netns.ts";
import type { Program } from "./process.ts";
import { runProgram } from "./programs.ts";
import { until } from "./until.ts";

const PORT = 15_012;

/** What is other than usual. */
export interface ConfigAuthorityOptions {
  /** For a mesh that takes long to read. */
  readonly deadlineMs?: number;
  /** The host that it runs on. */
  readonly host?: Pick<Host, "address" | "prefix">;
  /** A folder that `authority init` has made, instead of one of its own. */
  readonly ca?: string;
}

/** What `GET /clients` says of one. */
export interface ConfigClientFacts {
  readonly resource: string;
  readonly documents: number;
  readonly subscriptions: number;
  readonly waitingMs: number | null;
}

/** What a proxy says of its own questions. */
export interface Asking {
  readonly subscriptions: number;
  readonly waiting: number;
}

/** What the dump of a proxy says of where its resources come from. */
export interface SourceFacts {
  readonly restored: boolean;
  readonly stream: Asking & {
    readonly connected: boolean;
    readonly version: string;
    readonly documents: number;
    readonly refused: number;
    readonly connects: number;
    readonly problems: readonly { readonly resource: string; readonly path: string; readonly text: string }[];
  };
}

/** Asks a proxy where its resources come from. */
export async function sourceOf({ admin }: Pick<Proxy, "admin">): Promise<SourceFacts> {
  const { body } = await ask(`http://${admin}/config_dump`);
  return (JSON.parse(body) as { readonly source: SourceFacts }).source;
}

/** See the head of the file. It reads the mesh's folder of resources, and ends with the mesh. */
export class ConfigAuthority {
  /** Where it listens; the same after a restart. */
  readonly address: string;
  /** Its own folder. */
  readonly ca: string;
  readonly #mesh: Mesh;
  readonly #host: Pick<Host, "address" | "prefix">;
  #program: Program | undefined;

  private constructor(mesh: Mesh, ca: string, host: Pick<Host, "address" | "prefix">) {
    this.#mesh = mesh;
    this.ca = ca;
    this.#host = host;
    this.address = `${host.address}:${PORT}`;
  }

  static async start(mesh: Mesh, options: ConfigAuthorityOptions = {}): Promise<ConfigAuthority> {
    const folder = join(mesh.folder, "authority");
    mkdirSync(folder);
    const { ca = await initAuthority(folder), host = { address: mesh.address(), prefix: [] }, deadlineMs } = options;
    const authority = new ConfigAuthority(mesh, ca, host);
    await authority.start(deadlineMs);
    mesh.atEnd(() => authority.stop());
    return authority;
  }

  async start(deadlineMs?: number): Promise<void> {
    const { address, prefix } = this.#host;
    const config = {
      listen: this.address,
      names: [address],
      resources: { files: this.#mesh.resources },
      admin: `unix:${this.#admin}`,
    };
    const { program } = await startAuthority(dirname(this.#admin), this.ca, config, deadlineMs, prefix);
    this.#program = program;
  }

  /** Who signs for it: for those who stand in its place. */
  async issuer(): Promise<Issuer> {
    const { certificatePem, keyPem } = must(await readRoots(this.ca)).signing.authority.intermediate;
    return issuerFromPem(certificatePem, keyPem);
  }

  /** In order, as a restart does. */
  async stop(): Promise<void> {
    await this.#program?.stop();
  }

  /** Holds it while something runs, as a machine that swaps would: its connections stay, and nothing is answered. */
  async silent<T>(run: () => Promise<T>): Promise<T> {
    this.#program?.signal("SIGSTOP");
    try {
      return await run();
    } finally {
      this.#program?.signal("SIGCONT");
    }
  }

  /**
   * Begins what needs its answer while it says nothing, until it has been asked, as `facts` tell. What came of it after the answer, and how
   * many questions it took.
   */
  async askedFirst<T>(
    facts: () => Promise<Asking>,
    begin: () => Promise<T>,
    inDoubt: () => void = () => {},
  ): Promise<{ readonly result: T; readonly questions: number }> {
    const { subscriptions } = await facts();
    const { going } = await this.silent(async () => {
      const begun = begin();
      // Whoever fails early is told of below.
      begun.catch(() => {});
      await until("the question", async () => (await facts()).waiting > 0);
      inDoubt();
      return { going: begun };
    });
    const result = await going;
    return { result, questions: (await facts()).subscriptions - subscriptions };
  }

  /** Has it look at its folder now. */
  lookNow(): void {
    this.#program?.signal("SIGHUP");
  }

  /** Its log so far. */
  get log(): readonly string[] {
    return this.#program?.output ?? [];
  }

  /** What its admin port says of one client, a workload as it says it or a Gateway. */
  async client(resource: string): Promise<ConfigClientFacts | undefined> {
    const [answer] = (await once(request({ socketPath: this.#admin, path: "/clients" }).end(), "response")) as [
      IncomingMessage,
    ];
    const { clients } = (await json(answer)) as { readonly clients: readonly ConfigClientFacts[] };
    return clients.find((client) => client.resource === resource);
  }

  /** How a proxy that trusts it takes its resources from here. */
  get resources(): { readonly authority: { readonly address: string } } {
    return { authority: { address: this.address } };
  }

  /** Issues an identity and says how a proxy that has it takes its resources from here. */
  async proxyConfig(account: string, more: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const folder = join(this.#mesh.folder, "issued", account);
    mkdirSync(dirname(folder), { recursive: true });
    const args = ["issue", this.ca, "--namespace", "default", "--service-account", account, "--out", folder];
    const issued = await runProgram("authority", args);
    if (issued.code !== 0) throw new Error(issued.stderr);
    return { identity: { files: folder }, resources: { ...this.resources, ...more } };
  }

  get #admin(): string {
    return join(this.#mesh.folder, "authority", "admin.sock");
  }
}
