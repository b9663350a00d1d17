// Machine. Addresses for one test file, so that every workload of a mesh has one of its own with the mesh's usual ports on it: a
// network 127.A.B.0/24 that no other test on the machine uses or, with IPv6, addresses that a network namespace of the test
// process's own has on its loopback interface (see `families.ts`).
import { createServer, type Server } from "node:net";
import { randomInt } from "node:crypto";
import { addressFamilies } from "./env.ts";

/** The guard: whoever listens here owns the network. */
const GUARD_HOST = 254;
const GUARD_PORT = 15999;
const ATTEMPTS = 100;

/** The IPv6 network of such a namespace, and how many addresses of it there are: IPv6 has one loopback address only. */
export const IPV6_PREFIX = "fd99::";
export const IPV6_ADDRESSES = 40;

/** A network of one's own on loopback. */
export interface Subnet {
  /** The address with the last number `host`, 1 to 253; its family is the test's, or the next of the test's. */
  address(host: number): string;
  /** Where the same host is reached from inside only; IPv6 has one such address, which is the first host's. */
  inside(host: number): string;
  release(): Promise<void>;
}

function listen(address: string): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", () => resolve(undefined));
    server.listen({ host: address, port: GUARD_PORT, exclusive: true }, () => resolve(server.unref()));
  });
}

/** The family of a workload: with more than one they take turns, so that both ends of most connections differ. */
function familyOf(host: number): 4 | 6 {
  const families = addressFamilies();
  return families[(host - 1) % families.length] ?? 4;
}

/** An address like those of a Service: nothing answers at it. */
export function virtualAddress(host: number): string {
  return familyOf(1) === 4 ? `10.96.0.${host}` : `${IPV6_PREFIX}96:${host.toString(16)}`;
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
        if (familyOf(host) === 4) return `${prefix}.${host}`;
        if (host > IPV6_ADDRESSES) throw new RangeError(`no host ${host} in ${IPV6_PREFIX}/112`);
        return `${IPV6_PREFIX}${host.toString(16)}`;
      },
      inside: (host) => (host === 1 && familyOf(host) === 6 ? "::1" : `${prefix}.${host}`),
      release: () => new Promise((resolve) => void guard.close(() => resolve())),
    };
  }
  throw new Error(`no free network among ${ATTEMPTS} tries in 127.0.0.0/8`);
}
