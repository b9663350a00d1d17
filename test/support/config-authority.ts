// Machine. An authority that streams the resources of a mesh under test, and issues the identities of those that ask it.
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { initAuthority, startAuthority } from "./authority.ts";
import type { Mesh } from "./mesh.ts";
import type { Program } from "./process.ts";
import { runProgram } from "./programs.ts";

const PORT = 15_012;

/** See the head of the file. It reads the mesh's folder of resources, and ends with the mesh. */
export class ConfigAuthority {
  /** Where it listens; the same after a restart. */
  readonly address: string;
  readonly #mesh: Mesh;
  readonly #ca: string;
  readonly #host: string;
  #program: Program | undefined;

  private constructor(mesh: Mesh, ca: string) {
    this.#mesh = mesh;
    this.#ca = ca;
    this.#host = mesh.address();
    this.address = `${this.#host}:${PORT}`;
  }

  /** `deadlineMs` is for a mesh that takes long to read. */
  static async start(mesh: Mesh, deadlineMs?: number): Promise<ConfigAuthority> {
    const folder = join(mesh.folder, "authority");
    mkdirSync(folder);
    const authority = new ConfigAuthority(mesh, await initAuthority(folder));
    await authority.start(deadlineMs);
    mesh.atEnd(() => authority.stop());
    return authority;
  }

  async start(deadlineMs?: number): Promise<void> {
    const config = { listen: this.address, names: [this.#host], resources: { files: this.#mesh.resources } };
    const { program } = await startAuthority(dirname(this.#ca), this.#ca, config, deadlineMs);
    this.#program = program;
  }

  /** In order, as a restart does. */
  async stop(): Promise<void> {
    await this.#program?.stop();
  }

  /** Its log so far. */
  get log(): readonly string[] {
    return this.#program?.output ?? [];
  }

  /** Issues an identity and says how a proxy that has it takes its resources from here. */
  async proxyConfig(account: string, more: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const folder = join(this.#mesh.folder, "issued", account);
    mkdirSync(dirname(folder), { recursive: true });
    const args = ["issue", this.#ca, "--namespace", "default", "--service-account", account, "--out", folder];
    const issued = await runProgram("authority", args);
    if (issued.code !== 0) throw new Error(issued.stderr);
    return { identity: { files: folder }, resources: { authority: { address: this.address }, ...more } };
  }
}
