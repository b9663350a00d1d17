// Pure. How callers are introduced to an app that cannot see them: a PROXY protocol v2 header before the first byte. Import it
// by `await import`, where a port wants it.
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import {
  FIELD_SERVICE,
  FIELD_SPIFFE_ID,
  writeProxyHeader,
  type ProxyField,
} from "@culvert/shared/net/proxy-protocol.ts";

/** What is said of a caller. */
export interface Introduction {
  /** The other end of the connection: the caller's proxy, or the waypoint in front. */
  readonly source: Endpoint;
  /** The address that was asked for. */
  readonly destination: Endpoint;
  /** The identity that the caller has proved; `undefined` for plaintext. */
  readonly identity: SpiffeId | undefined;
  /** Host name of the service that the caller asked for, if it did. */
  readonly service: string | undefined;
}

/** The header; the fields of identity and service are those that ztunnel's protocol names for waypoints. */
export function introduce({ source, destination, identity, service }: Introduction): Buffer {
  const fields: ProxyField[] = [];
  if (identity !== undefined) fields.push({ type: FIELD_SPIFFE_ID, value: Buffer.from(identity) });
  if (service !== undefined) fields.push({ type: FIELD_SERVICE, value: Buffer.from(service) });
  return writeProxyHeader(source, destination, fields);
}
