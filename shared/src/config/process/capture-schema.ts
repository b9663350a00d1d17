// Pure. The table behind `capture`: what the rules of transparent capture include, exclude and exempt. Everything is a number or a
// block of addresses, so that a rule never holds a text that a user wrote.
import { parseCidr, type Cidr } from "../../net/ip.ts";
import type { CaptureConfig, NumberRange, OutboundSelection } from "./process-config.ts";
import { defaulted, integer, listOf, objectOf, optional, refine, scalar, section, type Schema } from "./schema.ts";

/** The user id of Istio's proxies, so that rules and images carry over. */
const PROXY_USER = 1337;
/** The largest id that is not the "no id" of the kernel. */
const MAX_ID = 0xffff_fffe;

const port = range("port", "15001", "8000-8100", 1, 65_535);
const id = range("id", "1000", "1000-1999", 0, MAX_ID);

const cidr: Schema<Cidr> = scalar("address or CIDR block such as 10.0.0.0/8 or fd00::/8", (value) =>
  typeof value === "string" ? parseCidr(value) : undefined,
);

/** A mark of packets: not 0, which is that of all others. */
const mark: Schema<number> = scalar("whole number from 1 to 0xffffffff", (value) => {
  const number = typeof value === "string" && /^(0x[0-9A-Fa-f]{1,8}|\d{1,10})$/.test(value) ? Number(value) : value;
  return typeof number === "number" && Number.isInteger(number) && number >= 1 && number <= 0xffff_ffff
    ? number
    : undefined;
});

const exempt: Schema<CaptureConfig["exempt"]> = refine(
  objectOf({
    user: optional(integer(0, MAX_ID), `user id that uproxy runs as; without any of the three: ${PROXY_USER}`),
    group: optional(integer(0, MAX_ID), "group id that uproxy runs as"),
    mark: optional(mark, "mark that uproxy sets on its packets; it then needs CAP_NET_ADMIN as long as it runs"),
  }),
  (given, refuse) => {
    const [first, ...more] = (["user", "group", "mark"] as const).flatMap((kind) => {
      const value = given[kind];
      return value === undefined ? [] : [{ kind, id: value }];
    });
    if (more.length === 0) return first ?? { kind: "user", id: PROXY_USER };
    return refuse("expected one of user, group, mark; found several");
  },
);

const selection = (verb: string): Schema<OutboundSelection> =>
  objectOf({
    ports: defaulted(listOf(port), "[]", `ports to which connections are ${verb}`),
    cidrs: defaulted(listOf(cidr), "[]", `addresses to which connections are ${verb}`),
    users: defaulted(listOf(id), "[]", `user ids whose connections are ${verb}`),
    groups: defaulted(listOf(id), "[]", `group ids whose connections are ${verb}`),
  });

/** The schema of `capture`. */
export const CAPTURE_SCHEMA: Schema<CaptureConfig> = objectOf({
  exempt: section(exempt, "how the rules tell uproxy's own connections from the app's: one of these"),
  outbound: section(
    objectOf({
      include: section(
        selection("captured, and no others"),
        "a connection is captured when it is in every list that is not empty",
      ),
      exclude: section(selection("never captured"), "a connection that is in any of these is left alone, DNS too"),
    }),
    "connections of the app, turned to outbound.transparent",
  ),
  inbound: section(
    objectOf({
      include: section(
        objectOf({ ports: defaulted(listOf(port), "[]", "ports on which connections are captured, and no others") }),
        "nothing listed: all ports",
      ),
      exclude: section(
        objectOf({
          ports: defaulted(
            listOf(port),
            "[]",
            "ports on which connections are never captured, such as those of probes",
          ),
          sources: defaulted(listOf(cidr), "[]", "addresses from which connections are never captured"),
        }),
        "a connection that is in any of these is left alone",
      ),
    }),
    "plaintext connections to the app, turned to inbound.plaintext",
  ),
});

/** A number, or two with a dash between them, the smaller first. */
function range(what: string, one: string, two: string, least: number, most: number): Schema<NumberRange> {
  return scalar(`${what} from ${least} to ${most} such as ${one}, or a range such as ${two}`, (value) => {
    if (typeof value === "boolean") return undefined;
    const [, start, end] = /^(\d{1,10})(?:-(\d{1,10}))?$/.exec(String(value)) ?? [];
    if (start === undefined) return undefined;
    const [first, last] = [Number(start), Number(end ?? start)];
    return first >= least && first <= last && last <= most ? { first, last } : undefined;
  });
}
