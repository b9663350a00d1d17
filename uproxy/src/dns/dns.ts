// Root. The DNS proxy of the own app, by UDP and TCP: names of the mesh are answered from the resources, all others passed on to
// the host's resolvers as they are. Loaded only where it is configured.
import { networkInterfaces } from "node:os";
import { lookUpBeyond } from "@culvert/shared/config/name-resolver.ts";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { acceptBulk, type BulkServer } from "@culvert/shared/net/accept-bulk.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort, ipFamily, parseIp } from "@culvert/shared/net/ip.ts";
import { DnsMetrics } from "@culvert/shared/observe/dns-metrics.ts";
import type { Foundation } from "@culvert/shared/service/service.ts";
import type { UproxyState } from "../state.ts";
import { AnswerCache } from "./cache.ts";
import { Forwarder } from "./forwarder.ts";
import { lookupBeyond } from "./lookup-beyond.ts";
import { Resolvers } from "./resolvers.ts";
import { Responder } from "./responder.ts";
import { TcpSession } from "./tcp-session.ts";
import { listenUdp, type UdpListener } from "./udp-listener.ts";

/** Clients by TCP at once: it is one app that asks, and each may hold a connection to a resolver and 200 KiB. */
const MOST_TCP_CLIENTS = 64;

/** A DNS proxy that serves. */
export interface Dns {
  /** Where it listens, UDP and TCP alike. */
  readonly addresses: readonly Endpoint[];
  /** Leaves the ports; what is owed is still answered. */
  stopAccepting(): void;
  close(): Promise<void>;
}

/** What the DNS proxy stands on. */
export interface DnsOptions {
  readonly foundation: Pick<Foundation, "clock" | "log" | "metrics" | "countFailure"> &
    Partial<Pick<Foundation, "resources">>;
  readonly dns: NonNullable<UproxyConfig["dns"]>;
  readonly outbound: Pick<UproxyConfig["outbound"], "listeners" | "transparent">;
  readonly state: () => UproxyState;
  /** Names that are never asked of an authority. */
  readonly unasked?: ReadonlySet<string>;
  /** resolv.conf; replaced in tests. */
  readonly resolvConf?: string;
}

/** Starts the DNS proxy. Fails with PORT_UNAVAILABLE. */
export async function startDns(options: DnsOptions): Promise<Dns | Failure> {
  const { foundation, dns, outbound, state } = options;
  const { clock, log, countFailure } = foundation;
  const metrics = new DnsMetrics(foundation.metrics);
  const tell = (message: string, failure: Failure): void => {
    countFailure(failure);
    log.failure(message, failure);
  };
  const cache = new AnswerCache(clock);
  const own = hostsOf(dns.listen.host).map((ip) => ({ ip, port: dns.listen.port }));
  const ownSources = new Set<string>();
  const resolvers = new Resolvers({
    configured: dns.upstream,
    own,
    clock,
    ...(options.resolvConf === undefined ? {} : { file: options.resolvConf }),
    onChange: (list, refused) => {
      cache.clear();
      const fields = { resolvers: list.map(text).join(" "), refused: refused.map(text).join(" ") || undefined };
      if (list.length > 0) log.info("DNS names of others go to resolvers", fields);
      else log.warn("DNS names of others cannot be resolved: no resolver but this proxy itself", fields);
    },
  });
  const forwarder = new Forwarder({
    clock,
    resolvers,
    cache,
    ownSources,
    onHealth: (failure) => {
      if (failure === undefined) log.info("DNS resolvers answer again");
      else log.failure("DNS resolvers do not answer", failure);
    },
  });
  const responder = new Responder({
    state,
    listeners: outbound.listeners,
    isCaptured: outbound.transparent !== undefined,
    families: ownFamilies,
    cache,
    ownSources,
    metrics,
    clock,
    onRefused: (failure) => tell("DNS request refused", failure),
    onUnanswered: countFailure,
    demand: foundation.resources?.demand?.bind(foundation.resources),
    ...(options.unasked === undefined ? {} : { unasked: options.unasked }),
  });
  const sessions = new Set<TcpSession>();
  const bound: (BulkServer | UdpListener)[] = [];
  const stopAccepting = (): void => {
    for (const one of bound) {
      if ("stopAccepting" in one) one.stopAccepting();
      else void one.close();
    }
  };
  const close = async (): Promise<void> => {
    lookUpBeyond(undefined);
    for (const session of sessions) session.close();
    await Promise.all(bound.map((one) => one.close()));
  };
  const addresses: Endpoint[] = [];
  for (const { ip, port } of own) {
    const tcp = await acceptBulk({
      host: ip,
      port,
      onAcceptError: (failure) => tell("connection not accepted", failure),
      onSocket: (client) => {
        if (sessions.size >= MOST_TCP_CLIENTS) {
          metrics.refused("busy");
          return client.reset();
        }
        const session: TcpSession = new TcpSession({
          client,
          responder,
          forwarder,
          ownSources,
          clock,
          onClose: () => sessions.delete(session),
        });
        sessions.add(session);
      },
    });
    if (!isFailure(tcp)) bound.push(tcp);
    const udp = isFailure(tcp)
      ? tcp
      : await listenUdp({
          host: ip,
          port: tcp.address.port,
          responder,
          forwarder,
          onError: (failure) => tell("DNS socket failed", failure),
        });
    if (isFailure(udp)) {
      await close();
      return udp;
    }
    bound.push(udp);
    addresses.push({ ip, port: udp.address.port });
  }
  await resolvers.look();
  lookUpBeyond((host) => lookupBeyond(host, forwarder, metrics));
  return { addresses, stopAccepting, close };
}

function text({ ip, port }: Endpoint): string {
  return formatHostPort(ip, port);
}

/** The addresses to listen on; `localhost` is both families, as far as the host has them. */
function hostsOf(host: string): readonly Endpoint["ip"][] {
  const names =
    host.toLowerCase() === "localhost" ? ["127.0.0.1", ...(hostAddresses().includes("::1") ? ["::1"] : [])] : [host];
  return names.map(parseIp).filter((ip) => ip !== undefined);
}

/** The families in which this host can reach others; of one that can reach nobody, IPv4. */
function ownFamilies(): ReadonlySet<4 | 6> {
  const families = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith("fe80:"))
    .map(({ address }) => parseIp(address))
    .filter((ip) => ip !== undefined)
    .map(ipFamily);
  return new Set(families.length === 0 ? [4] : families);
}

function hostAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}
