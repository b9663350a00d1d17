// Machine. One HTTPS request for the document of a bundle endpoint: bounded, without redirects, believed only from the server
// that was meant. Loaded only where an endpoint is configured, for it brings HTTP.
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { isIP } from "node:net";
import { getCACertificates } from "node:tls";
import type { TLSSocket } from "node:tls";
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Clock } from "../../net/clock.ts";
import type { Bundle } from "../source.ts";
import type { SpiffeId, TrustDomain } from "../spiffe-id.ts";
import { chainOfSocket, expectPeer, verifyPeer } from "../verify.ts";

/** By what the server is known: its host name and these roots, or its SPIFFE ID and the bundle of its trust domain. */
export type EndpointProof =
  | { readonly kind: "web"; readonly roots: string | undefined }
  | { readonly kind: "spiffe"; readonly id: SpiffeId; readonly bundles: ReadonlyMap<TrustDomain, Bundle> };

/** What to ask, whom and how. */
export interface BundleRequest {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly proof: EndpointProof;
  readonly clock: Clock;
  /** Gives the question up. */
  readonly signal: AbortSignal;
}

/** A document of 256 keys has half of it. */
const MAX_DOCUMENT_BYTES = 1024 * 1024;
/** The whole exchange: many round trips on the worst path. */
const TIMEOUT_MS = 10_000;

/**
 * Asks once. Fails with PEER_UNREACHABLE, PEER_TIMEOUT, PEER_TLS_FAILURE, PEER_BAD_REQUEST (any answer but 200, redirects
 * included), or as `verifyPeer` and `expectPeer` do.
 */
export function fetchBundle({ host, port, path, proof, clock, signal }: BundleRequest): Promise<string | Failure> {
  const named = `https://${isIP(host) === 6 ? `[${host}]` : host}:${port}${path}`;
  return new Promise((resolve) => {
    const asking = request({
      host,
      port,
      path,
      agent: false,
      signal,
      minVersion: "TLSv1.2",
      headers: { accept: "application/json" },
      ...trustOf(proof),
    });
    const deadline = clock.after(TIMEOUT_MS, () =>
      end(fail("PEER_TIMEOUT", `${named}: no answer in ${TIMEOUT_MS} ms`)),
    );
    const end = (result: string | Failure): void => {
      deadline.cancel();
      asking.destroy();
      resolve(result);
    };
    asking.on("error", (error: NodeJS.ErrnoException) => end(failureOf(named, error)));
    asking.on("response", (response) => {
      const refused = refusalOf(response, proof, clock);
      if (refused !== undefined) end(fail(refused.code, `${named}: ${refused.detail}`));
      else readBody(response, named, end);
    });
    asking.end();
  });
}

function trustOf(proof: EndpointProof): object {
  if (proof.kind === "web") return { ca: proof.roots ?? getCACertificates("bundled") };
  // The name is in the SPIFFE ID, not in the host; it is checked on the answer, before a byte of it is believed.
  const roots = [...proof.bundles.values()].map(({ pem }) => pem);
  return { ca: roots, servername: "", checkServerIdentity: () => undefined };
}

/** Why an answer is not believed; what was asked for is public, so that nothing is lost by having asked. */
function refusalOf(response: IncomingMessage, proof: EndpointProof, clock: Clock): Failure | undefined {
  if (proof.kind === "spiffe") {
    const chain = chainOfSocket(response.socket as TLSSocket);
    if (isFailure(chain)) return chain;
    const peer = verifyPeer({ ...chain, bundles: proof.bundles, now: clock.now(), purpose: "server" });
    const wrong = isFailure(peer) ? peer : expectPeer(peer, [proof.id]);
    if (wrong !== undefined) return wrong;
  }
  const { statusCode = 0 } = response;
  return statusCode === 200 ? undefined : fail("PEER_BAD_REQUEST", `answers ${statusCode}, expected 200`);
}

function readBody(response: IncomingMessage, named: string, end: (result: string | Failure) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  response.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_DOCUMENT_BYTES) chunks.push(chunk);
    else end(fail("PEER_BAD_REQUEST", `${named}: more than ${MAX_DOCUMENT_BYTES} bytes`));
  });
  response.on("error", (error: NodeJS.ErrnoException) => end(failureOf(named, error)));
  response.on("end", () => {
    if (response.complete) end(Buffer.concat(chunks).toString("utf8"));
    else end(fail("PEER_UNREACHABLE", `${named}: the answer was cut short`));
  });
}

/** OpenSSL's and Node's words for a certificate are codes without a system call. */
function failureOf(named: string, error: NodeJS.ErrnoException): Failure {
  const isNetwork = error.syscall !== undefined || error.code === "ECONNRESET";
  return fail(isNetwork ? "PEER_UNREACHABLE" : "PEER_TLS_FAILURE", `${named}: ${error.code ?? error.message}`);
}
