// Pure. The question that `waypoint explain` is asked, read: what a request would bring.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { homeName, parseSpiffeId, trustDomainOf, workloadOf } from "@culvert/shared/identity/spiffe-id.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import { parseAuthority, type Authority } from "@culvert/shared/tunnel/authority.ts";
import type { Caller, WaypointSelf } from "../mesh/destination.ts";

/** The question, as text. */
export interface RequestQuestion {
  /** `GET http://reviews:9080/x?y`: method, what the caller dials, path with query. */
  readonly request: string;
  /** SPIFFE ID of the caller; `undefined` for one of whom nothing is known. */
  readonly from: string | undefined;
  /** Address of the caller; any when not given. */
  readonly sourceIp: string | undefined;
  /** `name: value`, one for each field line. */
  readonly headers: readonly string[];
}

/** The question, read. */
export interface Asked {
  readonly method: string;
  readonly authority: Authority;
  readonly target: string;
  readonly caller: Caller;
  readonly facts: ConnectionFacts;
  /** By lower-case name, lines of one name joined. */
  readonly headers: ReadonlyMap<string, string>;
}

const REQUEST = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) http:\/\/([^/?#]+)(.*)$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/;

/** Reads a question; REQUEST_MALFORMED and the codes of its parts say what cannot be read. */
export function readQuestion(self: WaypointSelf, question: RequestQuestion): Asked | Failure {
  const parts = REQUEST.exec(question.request);
  const [, method, host, rest] = parts ?? [];
  if (method === undefined || host === undefined || rest === undefined) {
    return fail("REQUEST_MALFORMED", `expected 'GET http://host:port/path', found ${JSON.stringify(question.request)}`);
  }
  const authority = parseAuthority(/:\d+$/.test(host) ? host : `${host}:80`);
  if (isFailure(authority)) return authority;
  const id = question.from === undefined ? undefined : parseSpiffeId(question.from);
  if (isFailure(id)) return id;
  const sourceIp = parseIp(question.sourceIp ?? "0.0.0.0");
  if (sourceIp === undefined) return fail("REQUEST_MALFORMED", `not an IP address: ${question.sourceIp ?? ""}`);
  const headers = readHeaders(question.headers);
  if (isFailure(headers)) return headers;
  const isOurs = id !== undefined && trustDomainOf(homeName(id, self.trustDomain, self.aliases)) === self.trustDomain;
  // Without a caller, names are read as the Gateway's neighbours read them.
  const namespace = id === undefined ? self.gateway.namespace : isOurs ? workloadOf(id)?.namespace : undefined;
  return {
    method,
    authority,
    target: rest.startsWith("/") ? rest : `/${rest}`,
    caller: { id, namespace },
    facts: {
      principal: id,
      sourceIp,
      destinationIp: authority.kind === "ip" ? authority.host : undefined,
      destinationPort: authority.port,
    },
    headers,
  };
}

function readHeaders(lines: readonly string[]): ReadonlyMap<string, string> | Failure {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      return fail("REQUEST_MALFORMED", `expected 'name: value', found ${JSON.stringify(line)}`);
    }
    const before = headers.get(name.toLowerCase());
    headers.set(name.toLowerCase(), before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}
