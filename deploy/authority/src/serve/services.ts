// Machine. The gRPC services of the authority, and what a refused caller is told: a status and a word, for the reason is the
// operator's. Another service is one more entry here.
import { Code, ConnectError, createConnectRouter } from "@connectrpc/connect";
import type { HandlerContext } from "@connectrpc/connect";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { Caller } from "../proof/proof.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import type { TrustState } from "../state/authority-state.ts";
import { CALLER } from "./call.ts";
import type { Handlers } from "./call.ts";
import type { CertificateIssuer } from "./create-certificate.ts";
import { IstioCertificateService } from "./proto/istio-ca.pb.ts";
import type { IstioCertificateRequest } from "./proto/istio-ca.pb.ts";
import { TrustService } from "./proto/trust.pb.ts";
import type { TrustWatchers } from "./watch-trust.ts";

export interface ServicesOptions {
  readonly issuer: CertificateIssuer;
  readonly watchers: TrustWatchers;
  readonly limits: AuthorityLimits;
}

/** Where Istio's node agents say whose certificate they want. */
const IMPERSONATED = "ImpersonatedIdentity";

/** The handlers of all services, by path. Nothing is compressed: a small message could become a very large one. */
export function handlersOf({ issuer, watchers, limits }: ServicesOptions): Handlers {
  const router = createConnectRouter({
    connect: false,
    grpcWeb: false,
    acceptCompression: [],
    readMaxBytes: limits.maxMessageBytes,
  });
  router.service(IstioCertificateService, {
    createCertificate: async (request, context) => {
      const chain = await issuer.issue(callerOf(context), {
        csr: request.csr,
        lifeSeconds: request.validityDuration,
        impersonated: impersonatedBy(request),
      });
      if (isFailure(chain)) throw errorOf(chain);
      return { certChain: [...chain] };
    },
  });
  router.service(TrustService, {
    async *watchTrust(_request, context) {
      const states = watchers.watch(callerOf(context), context.signal);
      try {
        for (let next = await states.next(); ; next = await states.next()) {
          if (next.done !== true) yield messageOf(next.value);
          else if (next.value === undefined) return;
          else throw errorOf(next.value);
        }
      } finally {
        // A caller that goes while it is told something leaves by the `yield`.
        await states.return(undefined);
      }
    },
  });
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
}

function callerOf(context: HandlerContext): Caller {
  const caller = context.values.get(CALLER);
  if (caller === undefined) throw new Error("a call without its caller");
  return caller;
}

function impersonatedBy({ metadata }: IstioCertificateRequest): string | undefined {
  const wanted = metadata?.[IMPERSONATED];
  return wanted === undefined || typeof wanted === "string" ? wanted : JSON.stringify(wanted);
}

function messageOf({ version, bundles, crls }: TrustState): {
  version: bigint;
  bundles: Record<string, Uint8Array>;
  crls: Uint8Array[];
} {
  const ders = [...bundles].map(([domain, { roots }]) => [domain, Buffer.concat(roots.map(({ raw }) => raw))] as const);
  return { version: BigInt(version), bundles: Object.fromEntries(ders), crls: [...crls] };
}

/** Codes by which a caller has not proved who it is. */
const UNPROVEN: ReadonlySet<string> = new Set([
  "PROOF_MISSING",
  "TOKEN_REFUSED",
  "IDENTITY_MALFORMED",
  "IDENTITY_UNTRUSTED",
  "IDENTITY_EXPIRED",
  "IDENTITY_REVOKED",
  "PEER_TLS_FAILURE",
]);

/** What the caller is told. About its own request in full, about its proof nothing. */
function errorOf(failure: Failure): ConnectError {
  if (UNPROVEN.has(failure.code)) return new ConnectError("not authenticated", Code.Unauthenticated);
  if (failure.code === "CSR_REFUSED") return new ConnectError(failure.toString(), Code.InvalidArgument);
  if (failure.code === "IMPERSONATION_REFUSED")
    return new ConnectError("not for another identity", Code.PermissionDenied);
  if (failure.code === "RATE_EXCEEDED") return new ConnectError("too many requests", Code.ResourceExhausted);
  return new ConnectError("not now", Code.Unavailable);
}
