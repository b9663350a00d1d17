// Pure. What the rules of transparent capture have to say, whatever program says it to the kernel: which listeners there are to turn
// connections to, and which connections are meant.
import type {
  CaptureConfig,
  NumberRange,
  OutboundSelection,
  UproxyConfig,
} from "@culvert/shared/config/process/process-config.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { cidrContains, formatHostPort, ipFamily, parseIp, type Cidr } from "@culvert/shared/net/ip.ts";
import type { ListenAddress } from "@culvert/shared/net/listen-address.ts";
import { SOURCE_MARK } from "../connection/source-mark.ts";

/** A listener, and the families of connections that can be turned to it. */
export interface Turn {
  readonly port: number;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** What brings the app's answers back where it sees its callers' own addresses. */
export interface KeptSource {
  /** Of the packets that uproxy sends to the app. */
  readonly mark: number;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** The plan: lists are in order, and no two entries of one overlap. */
export interface CapturePlan {
  readonly exempt: CaptureConfig["exempt"];
  readonly outbound: Turn | undefined;
  readonly inbound: Turn | undefined;
  readonly dns: Turn | undefined;
  readonly source: KeptSource | undefined;
  /** Ports of the mesh itself, never captured in either direction. */
  readonly meshPorts: readonly NumberRange[];
  readonly include: OutboundSelection;
  readonly exclude: OutboundSelection;
  readonly inboundPorts: readonly NumberRange[];
  readonly inboundExcluded: { readonly ports: readonly NumberRange[]; readonly sources: readonly Cidr[] };
}

/** From these addresses Istio's node agent lets the kubelet's probes come. */
export const PROBE_SOURCES: { readonly ipv4: string; readonly ipv6: string } = {
  ipv4: "169.254.7.127",
  ipv6: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
};

/** Tunnels, metrics and readiness, wherever in the mesh they are. */
const MESH_PORTS: readonly number[] = [15_008, 15_020, 15_021];

/** Connections that uproxy opens to the app, and the app's answers on them: Istio's mark, in as many bits as Istio takes. */
export const ANSWER_MARK = 0x111;
export const ANSWER_MASK = 0xfff;
/** Number of the routing table for these answers, and of the rule that leads to it: our own, so that no other is touched. */
export const ANSWER_TABLE = 15_006;

/** The part of the configuration that capture is made of. */
export type CaptureSource = Pick<
  UproxyConfig,
  "capture" | "dns" | "identity" | "inbound" | "outbound" | "readiness" | "metrics"
>;

/** Makes the plan of a configuration. Fails, with a sentence, when there is nothing to do or nowhere to turn connections to. */
export function capturePlan(config: CaptureSource): CapturePlan | Failure {
  const { capture, inbound, outbound, readiness, metrics } = config;
  const turns = {
    outbound: turnTo(outbound.transparent, { loopback: true }),
    inbound: turnTo(inbound.plaintext, { loopback: false }),
    dns: turnDns(config.dns?.listen),
  };
  for (const [key, turn] of [
    ["outbound.transparent", turns.outbound],
    ["inbound.plaintext", turns.inbound],
    ["dns", turns.dns],
  ] as const) {
    if (typeof turn === "string") return fail("PORT_UNAVAILABLE", `${key}: ${turn}`);
  }
  const source = inbound.keepSource ? keptSource(config) : undefined;
  if (source === undefined && Object.values(turns).every((turn) => turn === undefined)) {
    return fail(
      "PORT_UNAVAILABLE",
      "nothing to capture: outbound.transparent, inbound.plaintext and dns are all off; set outbound.transparent to :15001",
    );
  }
  if (source !== undefined && (source.mark & ANSWER_MASK) === ANSWER_MARK) {
    const [own, answers] = [source.mark, ANSWER_MARK].map((mark) => `0x${mark.toString(16)}`);
    return fail("PORT_UNAVAILABLE", `capture.exempt.mark: expected none that ends like ${answers}, found ${own}`);
  }
  const own = [inbound.hbone, readiness, metrics].flatMap((address) => (address === undefined ? [] : [address.port]));
  return {
    exempt: capture.exempt,
    ...(turns as { [K in keyof typeof turns]: Turn | undefined }),
    source,
    meshPorts: merged(
      [...MESH_PORTS, ...own, ...identityPorts(config)]
        .filter((port) => port > 0)
        .map((port) => ({ first: port, last: port })),
    ),
    include: tidy(capture.outbound.include),
    exclude: tidy(capture.outbound.exclude),
    inboundPorts: merged(capture.inbound.include.ports),
    inboundExcluded: {
      ports: merged(capture.inbound.exclude.ports),
      sources: disjoint(capture.inbound.exclude.sources),
    },
  };
}

/** Blocks of one family, as text. */
export function blocksOf(cidrs: readonly Cidr[], family: 4 | 6): readonly string[] {
  return cidrs.filter((cidr) => cidr.family === family).map(({ text }) => text);
}

/**
 * A rule turns what the app sends to the loopback address, and what comes from outside to the address at which it came, so that the
 * listener has to be there; a sentence if it is not.
 */
function turnTo(address: ListenAddress | undefined, at: { readonly loopback: boolean }): Turn | string | undefined {
  if (address === undefined) return undefined;
  const { host, port } = address;
  if (port === 0) return "expected a port that the rules can name, found 0, which lets the system choose";
  // Node binds `::` for both families, as it does the empty host.
  if (host === "" || host === "::") return { port, ipv4: true, ipv6: true };
  if (host === "0.0.0.0") return { port, ipv4: true, ipv6: false };
  const ip = parseIp(host);
  if (ip !== undefined && (!at.loopback || ip === "127.0.0.1" || ip === "::1")) {
    const family = ipFamily(ip);
    return { port, ipv4: family === 4, ipv6: family === 6 };
  }
  const expected = at.loopback ? `127.0.0.1:${port}` : "an IP address";
  return `expected :${port} (all interfaces) or ${expected}, to which rules can turn, found ${formatHostPort(host, port)}`;
}

/** The identity is fetched before there is a listener that captured connections could go to, by sockets that carry no mark. */
function identityPorts({ capture, identity }: CaptureSource): number[] {
  const isRemote = identity.kind === "authority" || identity.kind === "istiod";
  return isRemote && capture.exempt.kind === "mark" ? [identity.address.port] : [];
}

/** Callers come in the families of the listeners; that of one by name is not known here. */
function keptSource({ capture: { exempt }, inbound }: CaptureSource): KeptSource {
  const hosts = [inbound.hbone, inbound.plaintext].flatMap((address) => address?.host ?? []);
  const has = (family: 4 | 6): boolean =>
    hosts.some((host) => {
      const ip = host === "::" ? undefined : parseIp(host);
      return ip === undefined || ipFamily(ip) === family;
    });
  return { mark: exempt.kind === "mark" ? exempt.id : SOURCE_MARK, ipv4: has(4), ipv6: has(6) };
}

/** DNS is on loopback only; `localhost` is there in both families. */
function turnDns(address: ListenAddress | undefined): Turn | string | undefined {
  if (address?.host.toLowerCase() !== "localhost") return turnTo(address, { loopback: true });
  return turnTo({ ...address, host: "" }, { loopback: true });
}

function tidy({ ports, cidrs, users, groups }: OutboundSelection): OutboundSelection {
  return { ports: merged(ports), cidrs: disjoint(cidrs), users: merged(users), groups: merged(groups) };
}

/** The same numbers in as few ranges as hold them. */
function merged(ranges: readonly NumberRange[]): readonly NumberRange[] {
  const result: NumberRange[] = [];
  for (const range of ranges.toSorted((one, other) => one.first - other.first)) {
    const before = result.at(-1);
    if (before === undefined || range.first > before.last + 1) result.push(range);
    else result[result.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
  }
  return result;
}

/** The same addresses without blocks that lie in others. */
function disjoint(cidrs: readonly Cidr[]): readonly Cidr[] {
  const result: Cidr[] = [];
  for (const cidr of cidrs.toSorted((one, other) => one.family - other.family || one.bits - other.bits)) {
    const ip = parseIp(cidr.text.split("/")[0] ?? "");
    if (ip !== undefined && !result.some((wider) => cidrContains(wider, ip))) result.push(cidr);
  }
  return result;
}
