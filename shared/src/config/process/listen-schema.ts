// Pure. The forms of addresses to listen on, and of the listeners that the app dials.
import { formatHostPort } from "../../net/ip.ts";
import {
  isLoopbackHost,
  MAX_SOCKET_PATH,
  parseListenAddress,
  parseUnixAddress,
  splitHostPort,
} from "../../net/listen-address.ts";
import type { ListenAddress, UnixAddress } from "../../net/listen-address.ts";
import type { ExplicitListener, UproxyConfig } from "./process-config.ts";
import { defaulted, flag, INVALID, objectOf, oneOf, orOff, refine, required, scalar, type Schema } from "./schema.ts";
import { keyPath, type Node } from "../tree.ts";

/** Any TCP address. */
export const listenAddress: Schema<ListenAddress> = scalar("host:port, :port or port", (value) =>
  typeof value === "boolean" ? undefined : parseListenAddress(value),
);

/** A TCP address of this host alone. */
export const loopbackAddress: Schema<ListenAddress> = {
  ...refine(listenAddress, (address, refuse) =>
    isLoopbackHost(address.host) ? address : refuse(notLoopback(address)),
  ),
  expects: "loopback host:port",
};

const anyAddress = scalar<ListenAddress | UnixAddress>(
  `loopback host:port, or unix:/path of at most ${MAX_SOCKET_PATH} bytes`,
  (value) => {
    if (typeof value === "boolean") return undefined;
    return (typeof value === "string" ? parseUnixAddress(value) : undefined) ?? parseListenAddress(value);
  },
);

/** A TCP address of this host alone, or a UNIX socket. */
export const localAddress: Schema<ListenAddress | UnixAddress> = refine(anyAddress, (address, refuse) =>
  address.kind === "unix" || isLoopbackHost(address.host) ? address : refuse(notLoopback(address)),
);

const destination = scalar("host:port", (value) => {
  const parts = typeof value === "string" ? splitHostPort(value) : undefined;
  return parts === undefined || parts.host === "" || parts.port === 0 ? undefined : parts;
});

/** YAML 1.2 reads a bare 0600 as the number 600; its digits are what was meant. */
const socketMode: Schema<number> = scalar("0600 | 0660 | 0666", (value) => {
  const digits = /^0?(6[06]0|666)$/.exec(String(value))?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 8);
});

/** One item of `outbound.listeners`. */
export const explicitListener: Schema<ExplicitListener> = objectOf({
  listen: required(anyAddress, "what the app dials"),
  to: required(destination, "where the mesh carries it"),
  prewarm: defaulted(flag, "false", "sessions to where it leads are opened before the first connection, and kept"),
  mode: defaulted(
    socketMode,
    "0660",
    "mode of a UNIX socket: the group of its folder (set-group-id), or of the process, may connect too",
  ),
  proxyProtocol: defaulted(
    orOff(oneOf("v2")),
    "off",
    "each connection begins with a PROXY protocol header, which says whose it is",
  ),
});

/** `outbound.proxy`. */
export const proxyListener: Schema<ListenAddress | UnixAddress | undefined> = orOff(anyAddress);

/** What `outbound` holds of this file's subjects. */
type Explicit = Pick<UproxyConfig["outbound"], "listeners" | "proxy"> & { readonly allowNonLoopback: boolean };

/** Refuses, in a section `outbound`, what the app alone should reach and others could, unless the section allows it. */
export function loopbackUnlessAllowed<T extends Explicit>(section: Schema<T>): Schema<T> {
  return {
    ...section,
    read(node, path, errors) {
      const value = section.read(node, path, errors);
      if (value === INVALID || value.allowNonLoopback) return value;
      const refuse = (
        address: ListenAddress | UnixAddress | undefined,
        at: Node | undefined,
        where: string,
      ): boolean => {
        if (address === undefined || address.kind === "unix" || isLoopbackHost(address.host)) return true;
        const hint = "others could then act with this workload's identity: outbound.allowNonLoopback: true allows it";
        errors.add(at ?? node, where, `${notLoopback(address)}; ${hint}`);
        return false;
      };
      const items = child(node, "listeners");
      const listeners = value.listeners.map(({ listen }, index) => {
        const item = items?.kind === "list" ? items.items[index] : undefined;
        return refuse(listen, child(item, "listen"), `${keyPath(path, "listeners")}[${index}].listen`);
      });
      const proxy = refuse(value.proxy, child(node, "proxy"), keyPath(path, "proxy"));
      return proxy && listeners.every(Boolean) ? value : INVALID;
    },
  };
}

function child(node: Node | undefined, name: string): Node | undefined {
  return node?.kind === "map" ? node.entries.get(name)?.value : undefined;
}

function notLoopback(address: ListenAddress): string {
  const found = address.host === "" ? `:${address.port} (all interfaces)` : formatHostPort(address.host, address.port);
  return `expected a loopback address such as 127.0.0.1:${address.port}, found ${found}`;
}
