// Machine. Loopback addresses for one test file: a network 127.A.B.0/24 that no other test on the machine uses, so that
// every workload of a mesh has an address of its own with the mesh's usual ports on it.
import { createServer, type Server } from "node:net";
import { randomInt } from "node:crypto";

/** The guard: whoever listens here owns the network. */
const GUARD_HOST = 254;
const GUARD_PORT = 15999;
const ATTEMPTS = 100;

/** A network of one's own on loopback. */
export interface Subnet {
  /** The address with the last number `host`, 1 to 253. */
  address(host: number): string;
  release(): Promise<void>;
}

function listen(address: string): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", () => resolve(undefined));
    server.listen({ host: address, port: GUARD_PORT, exclusive: true }, () => resolve(server.unref()));
  });
}

/** Takes a free network. It is given back by `release`, and in any case when the process ends. */
export async function reserveSubnet(): Promise<Subnet> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const prefix = `127.${randomInt(32, 250)}.${randomInt(0, 256)}`;
    const guard = await listen(`${prefix}.${GUARD_HOST}`);
    if (guard === undefined) continue;
    return {
      address(host) {
        if (host < 1 || host >= GUARD_HOST) throw new RangeError(`no host ${host} in ${prefix}.0/24`);
        return `${prefix}.${host}`;
      },
      release: () => new Promise((resolve) => void guard.close(() => resolve())),
    };
  }
  throw new Error(`no free network among ${ATTEMPTS} tries in 127.0.0.0/8`);
}
