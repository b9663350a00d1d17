// Pure. The server's half of HTTP CONNECT (RFC 9110 section 9.3.6) on the explicit proxy port: one request head, no more.
import { fail, FAILURES, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import type { Destination } from "./hop.ts";
import { outcomeOf } from "./outcome.ts";
import type { Read } from "./socks5.ts";

/** A CONNECT head is a line and a few fields; whoever sends more is not a client of this port. */
const MAX_HEAD_BYTES = 8 * 1024;

/** Reads the head of a CONNECT request; `undefined` while more bytes are needed. Other methods are refused. */
export function readConnect(bytes: Buffer): Read<Destination> | Failure | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end === -1) {
    return bytes.length > MAX_HEAD_BYTES
      ? fail("REQUEST_TOO_LARGE", `no end of head in ${bytes.length} bytes`)
      : undefined;
  }
  if (end > MAX_HEAD_BYTES) return fail("REQUEST_TOO_LARGE", `a head of ${end} bytes`);
  const line = bytes.toString("latin1", 0, bytes.indexOf("\r\n"));
  const parts = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(line);
  const [, method, target] = parts ?? [];
  if (method === undefined || target === undefined) {
    return fail("PROXY_REQUEST_MALFORMED", "expected CONNECT host:port HTTP/1.1 or a SOCKS5 greeting");
  }
  if (method !== "CONNECT") {
    return fail("METHOD_REFUSED", `this port tunnels: CONNECT (curl -p -x) or SOCKS5, found ${method.slice(0, 16)}`);
  }
  const authority = parseAuthority(target);
  if (isFailure(authority)) return authority;
  const destination: Destination =
    authority.kind === "ip"
      ? { kind: "ip", ip: authority.host, port: authority.port }
      : { kind: "name", host: authority.host, port: authority.port };
  return { value: destination, consumed: end + 4 };
}

/** A client that gave up reads nothing; one that waited in vain is told so (RFC 9110 section 15.6.5). */
function statusOf(failure: Failure): number {
  const outcome = outcomeOf(failure);
  if (outcome === "APP_TIMEOUT" || outcome === "PEER_TIMEOUT") return 504;
  // Told apart from a refusal, which is 503.
  if (outcome === "APP_RESET" || outcome === "PEER_RESET" || outcome === "PEER_LOST") return 502;
  const { httpStatus } = FAILURES[outcome];
  return httpStatus === 499 ? 400 : httpStatus;
}

/** The answer to a CONNECT: 200 and then bytes, or a status with the failure's code and text. */
export function connectReply(failure: Failure | undefined): Buffer {
  if (failure === undefined) return Buffer.from("HTTP/1.1 200 Connection established\r\n\r\n", "latin1");
  const status = statusOf(failure);
  const body = `${failure.code}: ${failure.toString()}\n`.replaceAll(/[^\n -~]/g, "?");
  return Buffer.from(
    `HTTP/1.1 ${status} ${failure.traits.text}\r\nculvert-code: ${failure.code}\r\n` +
      `content-type: text/plain\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    "latin1",
  );
}
