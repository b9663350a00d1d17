// Pure. Addresses for services that have none: made from the name alone, so that every uproxy gives a service the same
// ones, before and after a restart, and no one has to be asked or told.
import { hash } from "node:crypto";
import { parseIp, type Ip } from "../net/ip.ts";

/** The addresses of one service, one of each family. */
export interface VirtualAddresses {
  readonly v4: Ip;
  readonly v6: Ip;
}

/**
 * First byte of the IPv4 addresses of the first attempt; each further one has the next block. All lie in 240.0.0.0/4, which
 * nobody uses; 240.0.0.0/8 is left out because Istio gives addresses from 240.240.0.0/16. A block of 2^24, because in a
 * /16 three hundred names would already make it likely that two of them meet.
 */
const FIRST_BLOCK = 241;
/** Nobody can make a name whose every attempt meets those of another name: that takes 2^192 tries. */
const ATTEMPTS = 8;
/** Unique local addresses (RFC 4193) with a global id of our own; the other 80 bits are the name's. */
const PREFIX_V6 = "fd63:756c:7665";

/** Whether an address can be a virtual one: cheap, for those who must know whether the question is worth asking. */
export function mayBeVirtual(ip: Ip): boolean {
  return /^24[1-8]\./.test(ip) || ip.startsWith(`${PREFIX_V6}:`);
}

/**
 * Gives each name its addresses. Where two names meet neither gets the address and both try their next one. Each attempt has
 * a block of its own, so a name that is added never takes an address that another name has had: who still knows
 * that address reaches nobody, and not the wrong service.
 */
export function virtualAddresses(names: Iterable<string>): Map<string, VirtualAddresses> {
  const given = new Map<string, VirtualAddresses>();
  let waiting = new Set(names);
  for (let attempt = 0; attempt < ATTEMPTS && waiting.size > 0; attempt += 1) {
    const wanted = new Map<string, string[]>();
    for (const name of waiting) {
      const address = addressV4(name, attempt);
      const others = wanted.get(address);
      if (others === undefined) wanted.set(address, [name]);
      else others.push(name);
    }
    waiting = new Set();
    for (const [address, [name = "", ...others]] of wanted) {
      const v4 = parseIp(address);
      const v6 = parseIp(addressV6(name));
      if (others.length > 0) for (const other of [name, ...others]) waiting.add(other);
      else if (v4 !== undefined && v6 !== undefined) given.set(name, { v4, v6 });
    }
  }
  return given;
}

/** The addresses that a name may be given: those of either family that it tries, in order. */
export function virtualCandidates(name: string): readonly Ip[] {
  const all = Array.from({ length: ATTEMPTS }, (_, attempt) => addressV4(name, attempt));
  return [...all, addressV6(name)].map(parseIp).filter((ip) => ip !== undefined);
}

function addressV4(name: string, attempt: number): string {
  const digits = hash("sha256", `culvert virtual address ${attempt} ${name}`);
  const [a, b, c] = [0, 2, 4].map((start) => Number.parseInt(digits.slice(start, start + 2), 16));
  return `${FIRST_BLOCK + attempt}.${a}.${b}.${c}`;
}

/** 80 bits: two names meet in none of them. */
function addressV6(name: string): string {
  const digits = hash("sha256", `culvert virtual address ${name}`);
  const groups = [0, 4, 8, 12, 16].map((start) => digits.slice(start, start + 4));
  return `${PREFIX_V6}:${groups.join(":")}`;
}
