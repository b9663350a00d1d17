// Machine. TLS to applications, as a BackendTLSPolicy asks for it: inside the tunnel or the plain connection to the endpoint, with a
// certificate that is checked before a byte of a request is sent.
import type { X509Certificate } from "node:crypto";
import { createSecureContext, getCACertificates, rootCertificates, type SecureContext, type TLSSocket } from "node:tls";
import type { BackendTls } from "@culvert/shared/config/backend-tls.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { fieldsOf } from "@culvert/shared/identity/certificate-fields.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import { channelDuplex, ChannelError } from "../channel/channel-duplex.ts";
import type { ByteChannel } from "../channel/channel.ts";
import { tlsChannel } from "../channel/tls-channel.ts";
import { beginTls } from "../dial.ts";
import type { BackendTlsUse } from "../mesh/backend-tls.ts";

/** Contexts kept; one more and the oldest is made anew when it is needed. Those of the system's roots have a few hundred each. */
const MOST_CONTEXTS = 256;

/** See the head of the file. */
export class BackendHandshakes {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  /** One for each policy as it reads now: making one costs more than a handshake. Sessions are not resumed, see `identity/tls.ts`. */
  readonly #contexts = new Map<string, SecureContext>();

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Takes a connection over and gives back what is inside TLS; its `alpn` is what was agreed on. BACKEND_UNTRUSTED for a certificate
   * that is not the one asked for, BACKEND_TLS_FAILURE for any other end, BACKEND_TLS_INVALID for a policy that no context can be made of.
   *
   * @param alpn what is offered, best first; empty: nothing
   */
  async secure(
    channel: ByteChannel,
    { policy, key }: BackendTlsUse,
    alpn: readonly string[],
  ): Promise<ByteChannel | Failure> {
    const context = this.#contextOf(policy, key);
    if (isFailure(context)) {
      channel.reset(context);
      return context;
    }
    const duplex = channelDuplex(channel);
    const isAddress = parseIp(policy.hostname) !== undefined;
    const socket = beginTls({
      socket: duplex,
      secureContext: context,
      servername: isAddress ? "" : policy.hostname,
      ALPNProtocols: [...alpn],
      rejectUnauthorized: true,
      // Names are checked after the handshake, by all that the policy says of them.
      checkServerIdentity: () => undefined,
    });
    duplex.on("error", () => {});
    const inside = tlsChannel(socket, duplex);
    const failure = (await this.#handshake(socket)) ?? nameProblem(socket, policy);
    if (failure === undefined) return inside;
    const said = fail(failure.code, `${policy.uid}: ${failure.detail}`);
    inside.reset(said);
    return said;
  }

  #handshake(socket: TLSSocket): Promise<Failure | undefined> {
    const { promise, resolve } = Promise.withResolvers<Failure | undefined>();
    const timer = this.#clock.after(this.#timeoutMs, () =>
      resolve(fail("BACKEND_TLS_FAILURE", `no handshake within ${this.#timeoutMs} ms`)),
    );
    const onError = (error: Error): void => resolve(handshakeFailure(error));
    const onClose = (): void => resolve(fail("BACKEND_TLS_FAILURE", "closed during the handshake"));
    socket.once("secureConnect", () => resolve(undefined));
    socket.once("error", onError);
    socket.once("close", onClose);
    return promise.finally(() => {
      timer.cancel();
      socket.off("error", onError);
      socket.off("close", onClose);
    });
  }

  #contextOf(policy: BackendTls, key: string): SecureContext | Failure {
    const known = this.#contexts.get(key);
    if (known !== undefined) return known;
    let context: SecureContext;
    try {
      const ca = policy.roots === "system" ? systemRoots() : [...policy.roots];
      context = createSecureContext({ ca, minVersion: "TLSv1.2" });
    } catch (error) {
      return fail("BACKEND_TLS_INVALID", `${policy.uid}: ${String(error)}`);
    }
    if (this.#contexts.size >= MOST_CONTEXTS) {
      for (const [oldest] of this.#contexts.entries().take(1)) this.#contexts.delete(oldest);
    }
    this.#contexts.set(key, context);
    return context;
  }
}

/** Those of the system; where it has none, as in an image made from nothing, those that the runtime brings. */
function systemRoots(): string[] {
  const roots = getCACertificates("system");
  return roots.length > 0 ? roots : [...rootCertificates];
}

/** OpenSSL's verdict on the certificate has neither the system's words nor the library's. */
function handshakeFailure(error: NodeJS.ErrnoException): Failure {
  if (error instanceof ChannelError) return error.failure;
  const code = error.code ?? error.message;
  if (error.code !== undefined && error.syscall === undefined && !/^(ERR_|E[A-Z]+$)/.test(code)) {
    return fail("BACKEND_UNTRUSTED", code);
  }
  return fail("BACKEND_TLS_FAILURE", code);
}

/** Why a certificate that is trusted is not that of the backend. Any one name must match; the common name is none. */
function nameProblem(socket: TLSSocket, { hostname, subjectAltNames }: BackendTls): Failure | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return fail("BACKEND_UNTRUSTED", "no certificate was shown");
  const wanted = subjectAltNames.length === 0 ? [{ type: "hostname" as const, value: hostname }] : subjectAltNames;
  for (const { type, value } of wanted) {
    if (type === "uri" ? hasUri(certificate, value) : hasHost(certificate, value)) return undefined;
  }
  const names = wanted.map(({ value }) => value).join(", ");
  return fail("BACKEND_UNTRUSTED", `the certificate is for ${certificate.subjectAltName ?? "no name"}, not ${names}`);
}

function hasUri(certificate: X509Certificate, uri: string): boolean {
  const fields = fieldsOf(certificate);
  return !isFailure(fields) && fields.uris.includes(uri);
}

function hasHost(certificate: X509Certificate, host: string): boolean {
  if (parseIp(host) !== undefined) return certificate.checkIP(host) !== undefined;
  // A name with a wildcard is asked for as it stands in the certificate.
  if (host.startsWith("*.")) return (certificate.subjectAltName ?? "").split(", ").includes(`DNS:${host}`);
  return certificate.checkHost(host, { subject: "never", partialWildcards: false }) !== undefined;
}
