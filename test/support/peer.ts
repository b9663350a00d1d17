// Machine. A member of the mesh in the test's own hands: with the identity of an account it opens tunnels to any proxy, with any
// authority and any headers.
import type { Duplex } from "node:stream";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { openFilesSource } from "@culvert/shared/identity/sources/files.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { tunnelDuplex } from "@culvert/shared/tunnel/duplex.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import { id, ip } from "./fixtures.ts";
import { must } from "./identity.ts";
import type { IssueOptions } from "./identities.ts";
import { PORTS, type Mesh, type Proxy } from "./mesh.ts";

type TunnelHeaders = Record<string, string | string[]>;

/** Make it with `openPeer`; it ends with its mesh. */
export class Peer {
  readonly #pool: TunnelPool;

  constructor(pool: TunnelPool) {
    this.#pool = pool;
  }

  /** A tunnel, or status and code of the refusal: `400 DESTINATION_NOT_MINE`. */
  async open(
    proxy: Proxy,
    authority: string,
    headers: TunnelHeaders = {},
    account: string = proxy.name,
  ): Promise<Duplex | string> {
    const target = { ip: ip(proxy.address), port: PORTS.hbone, expected: [id(`default/${account}`)] };
    const opened = await this.#pool.open(target, { authority, headers });
    if (!isFailure(opened)) return tunnelDuplex(opened.stream);
    return /\d{3} [A-Z_]+$/.exec(opened.detail)?.[0] ?? opened.toString();
  }

  /** A tunnel that must come about. */
  async tunnel(
    proxy: Proxy,
    authority: string,
    headers: TunnelHeaders = {},
    account: string = proxy.name,
  ): Promise<Duplex> {
    const opened = await this.open(proxy, authority, headers, account);
    if (typeof opened === "string") throw new Error(`no tunnel to ${authority}: ${opened}`);
    return opened;
  }

  /** Whether a tunnel is granted: `open`, or status and code of the refusal. */
  async ask(proxy: Proxy, authority: string, headers: TunnelHeaders = {}): Promise<string> {
    const opened = await this.open(proxy, authority, headers);
    if (typeof opened === "string") return opened;
    opened.on("error", () => {});
    opened.destroy();
    return "open";
  }
}

/** A peer with the identity of `account`. */
export async function openPeer(mesh: Mesh, account: string, options: IssueOptions = {}): Promise<Peer> {
  const { folder } = await mesh.issue(account, options);
  const clock = systemClock;
  const identity = must(await openFilesSource({ location: folder, clock, onEvent: () => {} }));
  const pool = new TunnelPool({ identity, limits: DEFAULT_TUNNEL_LIMITS, clock, onEvent: () => {} });
  mesh.atEnd(() => {
    pool.close();
    identity.close();
    return Promise.resolve();
  });
  return new Peer(pool);
}
