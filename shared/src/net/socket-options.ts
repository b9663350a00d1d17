// Machine. Socket options of Linux that the runtime does not offer, by `node:ffi`: where a captured connection wanted to go,
// and the marks and addresses that capture needs. Import it by `await import`, where it is configured: nothing else loads it.
import type * as Ffi from "node:ffi";
import { getSystemErrorName } from "node:util";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { BulkSocket } from "./bulk-socket.ts";
import type { Endpoint } from "./endpoint.ts";
import { ipFamily, parseIp } from "./ip.ts";

/** Numbers of Linux that are the same on every architecture for which the runtime is built. */
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK_CLOEXEC = 0o2004000;
const SOL_IP = 0;
const SOL_SOCKET = 1;
const SOL_IPV6 = 41;
const IP_FREEBIND = 15;
const IP_TRANSPARENT = 19;
const SO_MARK = 36;
const IPV6_TRANSPARENT = 75;
const IPV6_FREEBIND = 78;
/** SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST have one number in two levels. */
const SO_ORIGINAL_DST = 80;

/** Size of a `sockaddr_in6`, the larger of the two. */
const ADDRESS_BYTES = 28;

/** What a socket carries. */
export type SocketKind = "tcp" | "udp";

/** The operations. Make them with `loadSocketOptions`. */
export interface SocketOptions {
  /**
   * Where the other end of an accepted socket wanted to go: before a REDIRECT rule turned it to us (SO_ORIGINAL_DST), or,
   * where no rule did (TPROXY, or a connection that was made to us), the socket's own address.
   */
  originalDestination(socket: BulkSocket): Endpoint;
  /** The own address of a socket, also before the runtime knows that it is connected. */
  localAddress(descriptor: number): Endpoint | undefined;
  /** SO_MARK, for rules and routes to tell our packets by; needs CAP_NET_ADMIN. */
  mark(descriptor: number, mark: number): Failure | undefined;
  /** IP_TRANSPARENT: a socket may then have addresses that are not this host's; needs CAP_NET_ADMIN or CAP_NET_RAW. */
  transparent(descriptor: number, family: 4 | 6): Failure | undefined;
  /** IP_FREEBIND: a socket may be bound to an address that this host does not have, or not yet. No privilege. */
  freebind(descriptor: number, family: 4 | 6): Failure | undefined;
  /** A socket that is neither bound nor connected, for options that must be set before; its caller closes it. */
  open(kind: SocketKind, family: 4 | 6): number | Failure;
  /** Closes a descriptor that no socket of the runtime has taken over. */
  close(descriptor: number): void;
}

/** Fails with SOCKET_OPTION_REFUSED where the system is not Linux, or the runtime may not call into the C library. */
export async function loadSocketOptions(): Promise<SocketOptions | Failure> {
  if (process.platform !== "linux") {
    return fail("SOCKET_OPTION_REFUSED", `transparent capture needs Linux, and this is ${process.platform}`);
  }
  try {
    return new LinuxSocketOptions(await import("node:ffi"));
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    return fail("SOCKET_OPTION_REFUSED", `node:ffi cannot be used (under --permission it needs --allow-ffi): ${what}`);
  }
}

class LinuxSocketOptions implements SocketOptions {
  readonly #errno: () => number;
  readonly #get: (descriptor: number, level: number, option: number) => number;
  readonly #set: (descriptor: number, level: number, option: number) => number;
  readonly #local: (descriptor: number) => number;
  readonly #open: (family: number, type: number) => number;
  readonly #close: (descriptor: number) => unknown;
  // One of each for the process: a call is over before the next one begins.
  readonly #address = Buffer.allocUnsafeSlow(ADDRESS_BYTES);
  readonly #family = new Uint16Array(this.#address.buffer, 0, 1);
  readonly #size = new Uint32Array(1);
  readonly #value = new Uint32Array(1);

  constructor(ffi: typeof Ffi) {
    const library = new ffi.DynamicLibrary(null);
    const address = ffi.getRawPointer(this.#address);
    const size = ffi.getRawPointer(this.#size);
    const value = ffi.getRawPointer(this.#value);
    const getsockopt = library.getFunction("getsockopt", {
      arguments: ["i32", "i32", "i32", "pointer", "pointer"],
      return: "i32",
    });
    const setsockopt = library.getFunction("setsockopt", {
      arguments: ["i32", "i32", "i32", "pointer", "u32"],
      return: "i32",
    });
    const getsockname = library.getFunction("getsockname", {
      arguments: ["i32", "pointer", "pointer"],
      return: "i32",
    });
    const socket = library.getFunction("socket", { arguments: ["i32", "i32", "i32"], return: "i32" });
    const close = library.getFunction("close", { arguments: ["i32"], return: "i32" });
    const location = library.getFunction("__errno_location", { arguments: [], return: "pointer" });
    this.#errno = () => ffi.getInt32(location(), 0);
    this.#get = (descriptor, level, option) => {
      this.#size[0] = ADDRESS_BYTES;
      return getsockopt(descriptor, level, option, address, size);
    };
    this.#set = (descriptor, level, option) => setsockopt(descriptor, level, option, value, 4);
    this.#local = (descriptor) => {
      this.#size[0] = ADDRESS_BYTES;
      return getsockname(descriptor, address, size);
    };
    this.#open = (family, type) => socket(family, type | SOCK_NONBLOCK_CLOEXEC, 0);
    this.#close = close;
  }

  originalDestination(socket: BulkSocket): Endpoint {
    const { local, descriptor } = socket;
    // An IPv4 connection to a socket of both families has an IPv4 address here, and the kernel answers for it as IPv4.
    const isIpv4 = ipFamily(local.ip) === 4;
    if (this.#get(descriptor, isIpv4 ? SOL_IP : SOL_IPV6, SO_ORIGINAL_DST) !== 0) return local;
    return this.#readAddress() ?? local;
  }

  localAddress(descriptor: number): Endpoint | undefined {
    return this.#local(descriptor) === 0 ? this.#readAddress() : undefined;
  }

  mark(descriptor: number, mark: number): Failure | undefined {
    return this.#apply(descriptor, SOL_SOCKET, SO_MARK, mark, "SO_MARK needs CAP_NET_ADMIN");
  }

  transparent(descriptor: number, family: 4 | 6): Failure | undefined {
    const [level, option] = family === 4 ? [SOL_IP, IP_TRANSPARENT] : [SOL_IPV6, IPV6_TRANSPARENT];
    return this.#apply(descriptor, level, option, 1, "IP_TRANSPARENT needs CAP_NET_ADMIN or CAP_NET_RAW");
  }

  freebind(descriptor: number, family: 4 | 6): Failure | undefined {
    const [level, option] = family === 4 ? [SOL_IP, IP_FREEBIND] : [SOL_IPV6, IPV6_FREEBIND];
    return this.#apply(descriptor, level, option, 1, "IP_FREEBIND");
  }

  open(kind: SocketKind, family: 4 | 6): number | Failure {
    const descriptor = this.#open(family === 4 ? AF_INET : AF_INET6, kind === "tcp" ? SOCK_STREAM : SOCK_DGRAM);
    return descriptor >= 0 ? descriptor : fail("SOCKET_OPTION_REFUSED", `socket: ${this.#errorName()}`);
  }

  close(descriptor: number): void {
    this.#close(descriptor);
  }

  #apply(descriptor: number, level: number, option: number, value: number, what: string): Failure | undefined {
    this.#value[0] = value;
    if (this.#set(descriptor, level, option) === 0) return undefined;
    return fail("SOCKET_OPTION_REFUSED", `${what}: ${this.#errorName()}`);
  }

  #errorName(): string {
    const errno = this.#errno();
    return errno > 0 ? getSystemErrorName(-errno) : "unknown error";
  }

  /** The address that the kernel has written: family in the order of the machine, port and address in the network's. */
  #readAddress(): Endpoint | undefined {
    const bytes = this.#address;
    const port = bytes.readUInt16BE(2);
    if (this.#family[0] === AF_INET) {
      const ip = parseIp(`${bytes[4]}.${bytes[5]}.${bytes[6]}.${bytes[7]}`);
      return ip === undefined ? undefined : { ip, port };
    }
    const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(8 + index * 2).toString(16));
    const ip = parseIp(groups.join(":"));
    return ip === undefined ? undefined : { ip, port };
  }
}

/** Opens a socket and prepares it; one that cannot be prepared is closed again. */
export function openPrepared(
  options: SocketOptions,
  kind: SocketKind,
  family: 4 | 6,
  prepare: (descriptor: number) => Failure | undefined,
): number | Failure {
  const descriptor = options.open(kind, family);
  if (isFailure(descriptor)) return descriptor;
  const failure = prepare(descriptor);
  if (failure === undefined) return descriptor;
  options.close(descriptor);
  return failure;
}
