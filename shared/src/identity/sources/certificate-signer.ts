// Machine. A certificate authority that speaks Istio's protocol (istio.v1.auth.IstioCertificateService): one call, one answer.
import type { ConnectionOptions } from "node:tls";
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { GrpcClient } from "../../grpc/client.ts";
import { dialTls } from "../../grpc/dial.ts";
import { bytesOf, decodeMessage, encodeMessage } from "../../grpc/message.ts";
import { CallEnd, GRPC } from "../../grpc/status.ts";
import type { Clock } from "../../net/clock.ts";
import { formatHostPort } from "../../net/ip.ts";
import { certificatesFromPem } from "../pem.ts";
import { readPublicFile } from "../read-file.ts";
import type { Identity } from "../source.ts";
import { trustDomainOf } from "../spiffe-id.ts";

/** Where an authority is, and by what it is known. */
export interface AuthorityAddress {
  readonly host: string;
  readonly port: number;
  /** File with the roots that its own certificate must chain to, PEM. */
  readonly bundle: string;
  /** The name in its certificate; `undefined`: `host`. */
  readonly serverName: string | undefined;
}

/** What is asked of an authority. */
export interface SigningRequest {
  readonly csrPem: string;
  readonly lifeMs: number;
  /** A token that says who we are. */
  readonly token: string | undefined;
  /** An identity that is in use: its certificate proves who we are where there is no token. */
  readonly current: Identity | undefined;
}

/** The chain, leaf first, roots last, as PEM; or why there is none, and whether what proves us was refused. */
export type SigningAnswer =
  | { readonly chain: readonly string[] }
  | { readonly failure: Failure; readonly isRefusal: boolean };

/** Whoever signs certificates. */
export interface CertificateSigner {
  sign(request: SigningRequest): Promise<SigningAnswer>;
  /** Ends what is being asked. */
  close(): void;
}

const METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/** Fields of IstioCertificateRequest and IstioCertificateResponse. */
const CSR = 1;
const VALIDITY_SECONDS = 3;
const CERT_CHAIN = 1;

const DEADLINE_MS = 30_000;
const MAX_ANSWER_BYTES = 1024 * 1024;

/** Calls the authority at `address`. */
export function signerAt(address: AuthorityAddress, clock: Clock): CertificateSigner {
  const asking = new Set<GrpcClient>();
  return {
    close: () => {
      for (const client of asking) client.close();
    },
    async sign({ csrPem, lifeMs, token, current }) {
      const tls = await tlsTo(address, token === undefined ? current : undefined);
      if (isFailure(tls)) return { failure: tls, isRefusal: false };
      const client = grpcTo(address, () => tls, clock, MAX_ANSWER_BYTES);
      asking.add(client);
      const message = encodeMessage([
        [CSR, csrPem],
        [VALIDITY_SECONDS, Math.round(lifeMs / 1000)],
      ]);
      const metadata: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const answer = await client.unary({ method: METHOD, message, metadata }, DEADLINE_MS);
      // The next answer is due in hours, and by another certificate: the session is not worth its memory.
      client.close();
      asking.delete(client);
      if (answer instanceof CallEnd) {
        const failure = fail("IDENTITY_NOT_GIVEN", `${nameOf(address)}: ${answer.toString()}`);
        return {
          failure,
          isRefusal: answer.status === GRPC.unauthenticated || answer.status === GRPC.permissionDenied,
        };
      }
      const fields = decodeMessage(answer);
      if (fields === undefined) {
        return {
          failure: fail("IDENTITY_MALFORMED", `${nameOf(address)}: the answer is no message`),
          isRefusal: false,
        };
      }
      return { chain: bytesOf(fields, CERT_CHAIN).map((bytes) => Buffer.from(bytes).toString("latin1")) };
    },
  };
}

/** `host:port`, as logs name an authority. */
export function nameOf({ host, port }: Pick<AuthorityAddress, "host" | "port">): string {
  return formatHostPort(host, port);
}

/** A client of the authority, whose sessions begin with the TLS options of then. */
export function grpcTo(
  address: Pick<AuthorityAddress, "host" | "port">,
  tls: () => ConnectionOptions,
  clock: Clock,
  maxMessageBytes: number,
): GrpcClient {
  return new GrpcClient({
    dial: () => dialTls(address.host, address.port, tls()),
    authority: nameOf(address),
    secure: true,
    clock,
    maxMessageBytes,
  });
}

/**
 * TLS options toward the authority: it is known by the roots of its file, where there is one, and by those that `own` trusts for its
 * own trust domain, which a rotation may have renewed; `own` is shown to it. Fails as `readRoots`.
 */
export async function tlsTo(
  { bundle, serverName }: { readonly bundle: string | undefined; readonly serverName: string | undefined },
  own: Identity | undefined,
): Promise<ConnectionOptions | Failure> {
  const roots = bundle === undefined ? undefined : await readRoots(bundle);
  if (isFailure(roots)) return roots;
  const renewed = own?.bundles.get(trustDomainOf(own.svid.id))?.pem;
  return {
    ca: [roots, renewed].filter((pem) => pem !== undefined),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(own === undefined ? {} : { cert: own.svid.chainPem, key: own.svid.keyPem }),
  };
}

/** The roots of an authority's own certificate, PEM. Fails with IDENTITY_UNAVAILABLE or, when it holds none, IDENTITY_MALFORMED. */
export async function readRoots(path: string): Promise<string | Failure> {
  const text = await readPublicFile(path);
  if (isFailure(text)) return text;
  // TLS would be silent about what it cannot read, and then refuse every server.
  const roots = certificatesFromPem(text, path);
  return isFailure(roots) ? roots : text;
}
