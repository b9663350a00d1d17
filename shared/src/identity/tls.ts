// Machine. The one set of TLS options of the mesh, and the contexts made from an identity.
import { constants } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { ConnectionOptions, SecureContext, SecureContextOptions, TlsOptions } from "node:tls";
import { allRootsPem } from "./bundle.ts";
import type { Identity, IdentitySource } from "./source.ts";

/** ztunnel's two suites, in its order: what every peer of the mesh has, and nothing that it must not have. */
const CIPHERS = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";

/**
 * The slash makes two ranks, so that a server asks for the post-quantum group of a client that knows it, even where the client
 * sent a key share for another one only. The stars send key shares for both, so that no peer costs a round trip more.
 */
const GROUPS = "*X25519MLKEM768/*X25519:P-256";
const POST_QUANTUM_GROUPS = "X25519MLKEM768";

/** The HTTP/2 of RFC 9113 section 3.2 and nothing else. */
const ALPN = "h2";

/** `pqc`: keys are agreed by X25519MLKEM768 and nothing else, as with ztunnel's policy of that name. */
export type Compliance = "pqc";

/**
 * TLS options of our own identity, kept with its source. One secure context per version of the identity: building one costs
 * more than a handshake. Sessions are never resumed, for resumption skips the peer's certificate.
 */
export class TlsContexts {
  readonly #source: IdentitySource;
  readonly #compliance: Compliance | undefined;
  #cached: { readonly version: number; readonly context: SecureContext } | undefined;

  constructor(source: IdentitySource, compliance?: Compliance) {
    this.#source = source;
    this.#compliance = compliance;
  }

  /**
   * Options of a TLS or HTTP/2 server with the identity of now. A server builds its own context of them; on each change of
   * identity give them to `setSecureContext`, which serves new handshakes and leaves old connections alone.
   */
  serverOptions(): TlsOptions {
    return {
      ...contextOptions(this.#source.get(), this.#compliance),
      ALPNProtocols: [ALPN],
      requestCert: true,
      rejectUnauthorized: true,
    };
  }

  /**
   * Options of a TLS connection with the identity of now, for `tls.connect`, to which the caller adds the address or the socket.
   * The peer's name is not checked here, for a callback is what resumption skips: call `peerOfSocket` after the handshake.
   */
  clientOptions(): ConnectionOptions {
    return {
      secureContext: this.secureContext(),
      ALPNProtocols: [ALPN],
      servername: "",
      rejectUnauthorized: true,
      checkServerIdentity: () => undefined,
    };
  }

  /** The context for connections that we open; the same one as long as the identity is the same. */
  secureContext(): SecureContext {
    const identity = this.#source.get();
    if (this.#cached?.version !== identity.version) {
      this.#cached = {
        version: identity.version,
        context: createSecureContext(contextOptions(identity, this.#compliance)),
      };
    }
    return this.#cached.context;
  }
}

function contextOptions(identity: Identity, compliance: Compliance | undefined): SecureContextOptions {
  return {
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    ciphers: CIPHERS,
    ecdhCurve: compliance === "pqc" ? POST_QUANTUM_GROUPS : GROUPS,
    honorCipherOrder: true,
    secureOptions: constants.SSL_OP_NO_TICKET,
    cert: identity.svid.chainPem,
    key: identity.svid.keyPem,
    ca: allRootsPem(identity.bundles),
  };
}
