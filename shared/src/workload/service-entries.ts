// Pure. The ServiceEntries of one snapshot by host, address, block and endpoint, each as one namespace may see them.
import { ipFamily, parseCidr, type Cidr, type Ip } from "../net/ip.ts";
import type { Service, Workload } from "./workload.ts";

/** The longest name that a resolver takes: nothing beyond it is a host. */
const MAX_HOST = 253;

/**
 * Where two entries claim one host or address, that of the caller's own namespace counts, else the first. Questions cost
 * a look-up for each label of a host, or for each length of block in use.
 */
export class ServiceEntries {
  readonly #byHost = new Map<string, Service[]>();
  readonly #byIp = new Map<Ip, Service[]>();
  readonly #byBlock = new Map<string, Service[]>();
  readonly #byEndpoint = new Map<Ip, [Service, Workload][]>();
  /** Lengths of the blocks in use, the longest first, for either family. */
  readonly #bits: Readonly<Record<4 | 6, readonly number[]>>;

  /** @param services those that come of no ServiceEntry are left out */
  constructor(services: readonly Service[]) {
    const blocks: Cidr[] = [];
    for (const service of services) {
      const { entry } = service;
      if (entry === undefined) continue;
      append(this.#byHost, service.hostname, service);
      for (const ip of service.vips) append(this.#byIp, ip, service);
      for (const block of entry.cidrs) {
        append(this.#byBlock, block.text, service);
        blocks.push(block);
      }
      for (const workload of entry.endpoints) {
        for (const ip of workload.addresses) append(this.#byEndpoint, ip, [service, workload]);
      }
    }
    this.#bits = { 4: lengths(blocks, 4), 6: lengths(blocks, 6) };
  }

  /** By an exact host, else by the longest `*.suffix`; in any case, with or without the final dot. */
  byHost(host: string, callerNamespace: string): Service | undefined {
    if (this.#byHost.size === 0 || host.length > MAX_HOST + 1) return undefined;
    const lower = host.toLowerCase();
    const name = lower.endsWith(".") ? lower.slice(0, -1) : lower;
    // A name that asks for the wildcard itself is not below it.
    if (name.startsWith("*")) return undefined;
    const exact = visible(this.#byHost.get(name), callerNamespace);
    if (exact !== undefined) return exact;
    for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) {
      const found = visible(this.#byHost.get(`*${name.slice(dot)}`), callerNamespace);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** By a single address. */
  byAddress(ip: Ip, callerNamespace: string): Service | undefined {
    return visible(this.#byIp.get(ip), callerNamespace);
  }

  /** By the narrowest block around an address. */
  byBlock(ip: Ip, callerNamespace: string): Service | undefined {
    for (const bits of this.#bits[ipFamily(ip)]) {
      const block = parseCidr(`${ip}/${bits}`);
      const found = block === undefined ? undefined : visible(this.#byBlock.get(block.text), callerNamespace);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Entries that have an endpoint at an address, those of the caller's namespace first. */
  withEndpointAt(ip: Ip, callerNamespace: string): readonly (readonly [Service, Workload])[] {
    const all = this.#byEndpoint.get(ip);
    if (all === undefined) return [];
    const seen = all.filter(([service]) => isVisible(service, callerNamespace));
    const isOwn = ([service]: readonly [Service, Workload]): boolean => service.namespace === callerNamespace;
    return [...seen.filter(isOwn), ...seen.filter((each) => !isOwn(each))];
  }
}

function visible(services: readonly Service[] | undefined, namespace: string): Service | undefined {
  if (services === undefined) return undefined;
  let first: Service | undefined;
  for (const service of services) {
    if (!isVisible(service, namespace)) continue;
    if (service.namespace === namespace) return service;
    first ??= service;
  }
  return first;
}

function isVisible({ entry }: Service, namespace: string): boolean {
  return entry?.exportedTo === undefined || entry.exportedTo.has(namespace);
}

function lengths(blocks: readonly Cidr[], family: 4 | 6): readonly number[] {
  const bits = new Set(blocks.filter((block) => block.family === family).map((block) => block.bits));
  return [...bits].toSorted((a, b) => b - a);
}

function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
