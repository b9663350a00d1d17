// Root. `node bare-tunnel.ts server|client IDENTITY_FOLDER HBONE_HOST:PORT [PEER_ID LISTEN=TO …]`: the tunnel layer of the product
// alone, on both sides. What uproxy costs beyond it is resolving, policy, log and metrics.
import process from "node:process";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { openFilesSource } from "@culvert/shared/identity/sources/files.ts";
import type { IdentitySource } from "@culvert/shared/identity/source.ts";
import { parseSpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { acceptBulk } from "@culvert/shared/net/accept-bulk.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import { systemClock as clock } from "@culvert/shared/net/clock.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import { splitHostPort } from "@culvert/shared/net/listen-address.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "@culvert/shared/tunnel/limits.ts";
import { TunnelPool, type TunnelTarget } from "@culvert/shared/tunnel/pool.ts";
import { pump } from "@culvert/shared/tunnel/pump.ts";
import { listenTunnels, type TunnelRequest } from "@culvert/shared/tunnel/server.ts";

function must<T>(value: T | Failure | undefined): T {
  if (value === undefined || isFailure(value)) throw new Error(value?.toString() ?? "malformed argument");
  return value;
}

const address = (text: string): { host: string; port: number } => must(splitHostPort(text));

async function serve(identity: IdentitySource, hbone: string): Promise<void> {
  must(
    await listenTunnels({
      ...address(hbone),
      identity,
      limits,
      clock,
      onEvent: () => undefined,
      onRequest: (request) => void accept(request),
    }),
  );
}

async function accept(request: TunnelRequest): Promise<void> {
  const { host, port } = request.authority;
  const app = await connectBulk({ host, port, timeoutMs: limits.connectTimeoutMs, clock });
  if (isFailure(app)) return request.refuse(app);
  if (!request.accept()) return app.reset();
  pump(app, request.stream, { clock, streamLeads: "downstream" });
}

async function lead(identity: IdentitySource, hbone: string, peer: string, mappings: readonly string[]): Promise<void> {
  const pool = new TunnelPool({ identity, limits, clock, onEvent: () => undefined });
  const { host, port } = address(hbone);
  const target = { ip: must(parseIp(host)), port, expected: [must(parseSpiffeId(peer))] };
  for (const mapping of mappings) {
    const [listen = "", authority = ""] = mapping.split("=");
    must(
      await acceptBulk({
        ...address(listen),
        onSocket: (socket) => void carry(socket, pool, target, authority),
      }),
    );
  }
}

async function carry(socket: BulkSocket, pool: TunnelPool, target: TunnelTarget, authority: string): Promise<void> {
  const tunnel = await pool.open(target, { authority, headers: {} });
  if (isFailure(tunnel)) return socket.reset();
  pump(socket, tunnel.stream, { clock, streamLeads: "upstream" });
}

const [role, folder = "", hbone = "", peer = "", ...mappings] = process.argv.slice(2);
const identity = must(await openFilesSource({ location: folder, clock, onEvent: () => undefined }));
await (role === "server" ? serve(identity, hbone) : lead(identity, hbone, peer, mappings));
