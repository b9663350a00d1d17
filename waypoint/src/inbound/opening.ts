// Pure. How the first bytes of a connection are read, where they decide what becomes of it.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { ClientHelloReader } from "./client-hello.ts";
import { sniff, sniffVersion } from "./sniff.ts";

/** What the first bytes say. */
export interface Opening {
  readonly protocol: "http1" | "http2" | "tls" | "opaque";
  /** Of a ClientHello that was read. */
  readonly serverName: string | undefined;
}

/** Reads the first bytes of one connection. */
export interface OpeningReader {
  /** How long it may take until they say something, in milliseconds. */
  readonly waitMs: number;
  /** They are what a TLSRoute goes by. */
  readonly forServerName: boolean;
  /** HTTP is declared, so that what is denied is denied to its requests. */
  readonly forHttp: boolean;
  /** `undefined`: not to be told yet. `bytes` are all so far. */
  read(bytes: Buffer): Opening | Failure | undefined;
  /** Nothing more will come, or not in time. */
  conclude(): Opening | Failure;
}

/** Nothing was read: what is declared needs no opening. */
export const UNREAD: Opening = { protocol: "opaque", serverName: undefined };

const HTTP1: Opening = { protocol: "http1", serverName: undefined };

/**
 * How long an undeclared port waits for the client to speak first. A client that has something to say has sent it within
 * a round trip of the answer; a server that speaks first (SMTP, MySQL) is held up this long, once for each connection.
 */
const SPEAK_FIRST_MS = 250;
/** The same where routes or policies ask for more: what passes as TCP there is refused or misses its route. */
const SPEAK_ASKED_MS = 10_000;

/** Tells protocols apart. @param needsHttp something asks what only a request can answer */
export function protocolReader(needsHttp: boolean): OpeningReader {
  return {
    waitMs: needsHttp ? SPEAK_ASKED_MS : SPEAK_FIRST_MS,
    forServerName: false,
    forHttp: false,
    read: (bytes) => {
      const protocol = sniff(bytes);
      return protocol === "more" ? undefined : { protocol, serverName: undefined };
    },
    conclude: () => UNREAD,
  };
}

/** Tells the version of HTTP where some is declared. @param idleMs how long a connection may say nothing */
export function versionReader(idleMs: number): OpeningReader {
  return {
    waitMs: idleMs,
    forServerName: false,
    forHttp: true,
    read: (bytes) => {
      const protocol = sniffVersion(bytes);
      return protocol === "more" ? undefined : { protocol, serverName: undefined };
    },
    conclude: () => HTTP1,
  };
}

/** Reads the ClientHello that TLSRoutes go by: CLIENT_HELLO_REFUSED for what is none. */
export function serverNameReader(): OpeningReader {
  const reader = new ClientHelloReader();
  return {
    waitMs: SPEAK_ASKED_MS,
    forServerName: true,
    forHttp: false,
    read: (bytes) => {
      const hello = reader.read(bytes);
      return hello === undefined || isFailure(hello) ? hello : { protocol: "tls", serverName: hello.serverName };
    },
    conclude: () => fail("CLIENT_HELLO_REFUSED", "it did not come whole"),
  };
}
