// Pure. The key `dns` of `uproxy.yaml`: where the app asks for names, and who is asked for those that are not the mesh's.
import type { Endpoint } from "../../net/endpoint.ts";
import { parseIp } from "../../net/ip.ts";
import { splitHostPort } from "../../net/listen-address.ts";
import { loopbackAddress } from "./listen-schema.ts";
import type { UproxyConfig } from "./process-config.ts";
import { either, listOf, objectOf, optional, orOff, refine, required, scalar, type Schema } from "./schema.ts";

const DNS_PORT = 53;
/** As libc asks no more of them. */
const MOST_RESOLVERS = 3;

/** An address, because a name would have to be resolved first. */
const resolver: Schema<Endpoint> = scalar("IP address, or IP:port", (value) => {
  if (typeof value !== "string") return undefined;
  const alone = parseIp(value);
  if (alone !== undefined) return { ip: alone, port: DNS_PORT };
  const parts = splitHostPort(value);
  const ip = parseIp(parts?.host ?? "");
  return parts === undefined || ip === undefined || parts.port === 0 ? undefined : { ip, port: parts.port };
});

const resolvers = refine(listOf(resolver), (list, refuse) =>
  list.length > MOST_RESOLVERS ? refuse(`expected at most ${MOST_RESOLVERS} resolvers, found ${list.length}`) : list,
);

/** An address alone, or a mapping. */
export const dnsProxy: Schema<UproxyConfig["dns"]> = refine(
  either(
    orOff(loopbackAddress),
    objectOf({
      listen: required(loopbackAddress, "where the app asks, by UDP and TCP"),
      upstream: optional(resolvers, "who is asked for other names"),
    }),
  ),
  (value) => (value === undefined || "listen" in value ? value : { listen: value, upstream: undefined }),
);
