// Machine. Separate hosts: network namespaces joined by a bridge in a namespace of its own, so that nothing of the machine's
// network is touched and two tests never meet. Needs root.
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./env.ts";
import { run, succeed } from "./process.ts";

/** What `ip netns exec` puts in the place of files of /etc. */
const NETNS_FILES = "/etc/netns";

/** A host: a namespace with one address of each family on the common network, and loopback. */
export interface Host {
  /** Name of the namespace. */
  readonly name: string;
  readonly address: string;
  /** The same host by IPv6. */
  readonly address6: string;
  /** What stands in front of a command that is to run on this host. */
  readonly prefix: readonly string[];
}

/** A network of hosts. */
export interface Network {
  /** Adds a host; the first is 10.99.0.1 and fd99::1. */
  host(): Promise<Host>;
  /** Gives a host a resolv.conf of its own: for what is started on it from now on. */
  resolvConf(host: Host, text: string): void;
  /** Cuts or restores the cable of a host without any word to either side. */
  cable(host: Host, state: "up" | "down"): Promise<void>;
  remove(): Promise<void>;
}

const ip = (...args: readonly string[]): Promise<string> => succeed(command("ip"), args);

/** An empty network with names that no other has. */
export async function createNetwork(): Promise<Network> {
  // Interface names are cut at 15 bytes, so the tag is short.
  const tag = `cv${randomBytes(3).toString("hex")}`;
  const hub = `${tag}-hub`;
  const namespaces = [hub];
  await ip("netns", "add", hub);
  const inHub = (...args: readonly string[]): Promise<string> => ip("-n", hub, ...args);
  const network: Network = {
    async host() {
      const number = namespaces.length;
      const name = `${tag}-h${number}`;
      const port = `p${number}`;
      namespaces.push(name);
      await ip("netns", "add", name);
      await inHub("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name);
      await inHub("link", "set", port, "master", "bridge", "up");
      const address = `10.99.0.${number}`;
      await ip("-n", name, "address", "add", `${address}/24`, "dev", "eth0");
      await ip("-n", name, "link", "set", "eth0", "up");
      await ip("-n", name, "link", "set", "lo", "up");
      // Nobody else has it: it need not be asked for, and may be used at once.
      const address6 = `fd99::${number.toString(16)}`;
      await ip("-n", name, "address", "add", `${address6}/64`, "dev", "eth0", "nodad");
      return { name, address, address6, prefix: [command("ip"), "netns", "exec", name] };
    },
    resolvConf(host, text) {
      const folder = join(NETNS_FILES, host.name);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, "resolv.conf"), text);
    },
    async cable(host, state) {
      await inHub("link", "set", `p${namespaces.indexOf(host.name)}`, state);
    },
    async remove() {
      // A namespace vanishes with its name once nothing runs in it.
      for (const name of namespaces.toReversed()) {
        await run(command("ip"), ["netns", "delete", name]);
        rmSync(join(NETNS_FILES, name), { recursive: true, force: true });
      }
    },
  };
  try {
    await inHub("link", "add", "bridge", "type", "bridge");
    await inHub("link", "set", "bridge", "up");
    return network;
  } catch (error) {
    await network.remove();
    throw error;
  }
}
