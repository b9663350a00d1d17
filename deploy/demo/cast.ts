// Pure. Who plays in the demo: addresses, accounts and the process configuration of each program.

/** Namespace and trust domain of the bookshop. */
export const NAMESPACE = "bookshop";
export const TRUST_DOMAIN = "cluster.local";

/** One workload with its app and its uproxy. */
export interface Player {
  readonly name: string;
  readonly address: string;
  readonly account: string;
  /** Role of the app in `bookshop.ts`; `undefined` for a uproxy without an app. */
  readonly role: string | undefined;
  /** Explicit listeners of its uproxy: port on its address, and where the mesh carries it. */
  readonly listeners: readonly { readonly port: number; readonly to: string }[];
}

export const STOREFRONT: Player = {
  name: "storefront-1",
  address: "127.64.0.10",
  account: "storefront",
  role: "storefront",
  listeners: [
    { port: 9081, to: "catalog:8080" },
    { port: 9082, to: "reviews:8080" },
    { port: 9083, to: "catalog:7000" },
  ],
};
export const CATALOG: Player = {
  name: "catalog-1",
  address: "127.64.0.11",
  account: "catalog",
  role: "catalog",
  listeners: [],
};
export const REVIEWS_V1: Player = {
  name: "reviews-v1-1",
  address: "127.64.0.12",
  account: "reviews",
  role: "reviews-v1",
  listeners: [],
};
export const REVIEWS_V2: Player = {
  name: "reviews-v2-1",
  address: "127.64.0.13",
  account: "reviews",
  role: "reviews-v2",
  listeners: [],
};
export const PLAYERS: readonly Player[] = [STOREFRONT, CATALOG, REVIEWS_V1, REVIEWS_V2];

/** Where the waypoint runs. */
export const WAYPOINT = { name: "waypoint-1", address: "127.64.0.20", account: "waypoint" } as const;

/** Somebody with a certificate of the right name from the wrong authority. */
export const INTRUDER: Player = {
  name: "storefront-1",
  address: "127.64.0.30",
  account: "storefront",
  role: undefined,
  listeners: [],
};

/** Ports of each uproxy and of the waypoint, on their own addresses. */
export const PORTS = { hbone: 15008, proxy: 15080, admin: 15000, readiness: 15021, metrics: 15020 } as const;

/** `uproxy.yaml` of a player. */
export function uproxyConfig(player: Player, identity: string, mesh: string): string {
  const { address } = player;
  const listeners = player.listeners.map(({ port, to }) => `    - { listen: "${address}:${port}", to: "${to}" }\n`);
  return `workload: { namespace: ${NAMESPACE}, name: ${player.name} }
identity: { files: ${JSON.stringify(identity)} }
resources: { files: ${JSON.stringify(mesh)} }
inbound: { hbone: "${address}:${PORTS.hbone}" }
outbound:
  proxy: "${address}:${PORTS.proxy}"
  listeners:${listeners.length === 0 ? " []\n" : `\n${listeners.join("")}`}${common(address)}`;
}

/** `waypoint.yaml`. */
export function waypointConfig(identity: string, mesh: string): string {
  return `gateway: { namespace: ${NAMESPACE}, name: waypoint }
identity: { files: ${JSON.stringify(identity)} }
resources: { files: ${JSON.stringify(mesh)} }
hbone: "${WAYPOINT.address}:${PORTS.hbone}"
${common(WAYPOINT.address)}`;
}

function common(address: string): string {
  return `admin: "${address}:${PORTS.admin}"
readiness: "${address}:${PORTS.readiness}"
metrics: "${address}:${PORTS.metrics}"
`;
}
