// Machine. The admin handlers that are the same in every program.
import type { X509Certificate } from "node:crypto";
import type { Identity, RevocationList, SourceState } from "../identity/source.ts";
import type { AdminHandler } from "./admin.ts";
import { LOG_LEVELS } from "./log.ts";
import type { Log } from "./log.ts";

/** `GET /logging` and `POST /logging?level=`. */
export function loggingHandlers(log: Log): readonly AdminHandler[] {
  return [
    {
      method: "GET",
      path: "/logging",
      about: "the log level",
      handle: () => ({ status: 200, body: { level: log.level } }),
    },
    {
      method: "POST",
      path: "/logging",
      about: "sets the log level: ?level=debug|info|warn|error",
      handle: (query) => {
        const level = LOG_LEVELS.find((one) => one === query.get("level"));
        if (level === undefined) {
          return { status: 400, body: { error: `level must be one of ${LOG_LEVELS.join(", ")}` } };
        }
        log.setLevel(level);
        return { status: 200, body: { level } };
      },
    },
  ];
}

/** `POST /drain` and `POST /quitquitquit`. Both are answered at once; what they start goes on behind them. */
export function lifecycleHandlers(actions: { drain(): void; quit(): void }): readonly AdminHandler[] {
  return [
    {
      method: "POST",
      path: "/drain",
      about: "stops taking new work and lets the present end; the process stays",
      handle: () => {
        actions.drain();
        return { status: 200, body: { draining: true } };
      },
    },
    {
      method: "POST",
      path: "/quitquitquit",
      about: "drains, then ends the process",
      handle: () => {
        actions.quit();
        return { status: 200, body: { ending: true } };
      },
    },
  ];
}

/** What `GET /certificates` is asked of. */
export interface IdentityNow {
  readonly identity: Identity;
  readonly state: SourceState;
}

/** `GET /certificates`: the identity now, how its source stands, its chain and the roots of each trust domain; never the key. */
export function certificatesHandler(identity: () => IdentityNow | undefined): AdminHandler {
  return {
    method: "GET",
    path: "/certificates",
    about: "own certificate chain and trusted roots",
    handle: () => {
      const now = identity();
      return now === undefined
        ? { status: 503, body: { error: "no identity yet" } }
        : { status: 200, body: describeIdentity(now) };
    },
  };
}

/** An identity as the admin port shows it, with ztunnel's names for the fields of a certificate. */
function describeIdentity({ identity, state }: IdentityNow): object {
  return {
    source: describeSource(state),
    identity: identity.svid.id,
    version: identity.version,
    validFrom: new Date(identity.svid.notBefore).toISOString(),
    expirationTime: new Date(identity.svid.notAfter).toISOString(),
    certChain: identity.svid.chain.map(describeCertificate),
    trustDomains: [...identity.bundles.values()].map((bundle) => ({
      trustDomain: bundle.trustDomain,
      rootCerts: bundle.roots.map(describeCertificate),
    })),
    trustDomainAliases: [...identity.aliases],
    revocationLists: [...identity.revocations.values()].flat().map(describeList),
  };
}

function describeList({ issuerKey, number, thisUpdate, nextUpdate, serials, digest }: RevocationList): object {
  return {
    issuerKey,
    number: number?.toString(),
    thisUpdate: new Date(thisUpdate).toISOString(),
    nextUpdate: nextUpdate === undefined ? undefined : new Date(nextUpdate).toISOString(),
    revoked: serials.size,
    sha256: digest,
  };
}

function describeSource({ source, state, nextInMs, failures, lastFailure }: SourceState): object {
  return {
    source,
    state,
    nextTrySeconds: nextInMs === undefined ? undefined : Math.round(nextInMs / 1000),
    failures,
    lastFailure: lastFailure === undefined ? undefined : `${lastFailure.code} ${lastFailure.toString()}`,
  };
}

function describeCertificate(certificate: X509Certificate): object {
  return {
    subject: certificate.subject,
    subjectAltName: certificate.subjectAltName,
    serialNumber: certificate.serialNumber,
    fingerprint256: certificate.fingerprint256,
    validFrom: certificate.validFromDate.toISOString(),
    expirationTime: certificate.validToDate.toISOString(),
    pem: certificate.toString(),
  };
}
