// For tests: the port in this process, over an authority in memory, with a clock that the test moves.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { must } from "@culvert/test/support/must.ts";
import { createAuthority } from "../ca/certificate-authority.ts";
import type { ConfigStreams } from "../config-stream/config-streams.ts";
import { formatJoinToken } from "../proof/join-token.ts";
import type { ServiceAccountVerifier } from "../proof/proof.ts";
import { TokenStore } from "../state/token-store.ts";
import { AuditLog } from "../observe/audit-log.ts";
import { AUTHORITY_LIMITS } from "../authority-limits.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import { AuthorityMetrics } from "../observe/authority-metrics.ts";
import type { AuthorityState, IssuedRecord, Issuer, TrustState } from "../state/authority-state.ts";
import { openOwnIdentity } from "./own-identity.ts";
import { openPort } from "./port.ts";
import type { Port } from "./port.ts";

export const DOMAIN = must(parseTrustDomain("cluster.local"));
const YEAR_MS = 365 * 86_400_000;

/** The state of an authority that lives in memory. */
export class MemoryState implements AuthorityState {
  readonly records: IssuedRecord[] = [];
  readonly #listeners = new Set<() => void>();
  #issuer: Issuer;
  #trust: TrustState;
  /** What `record` comes to. */
  recorded: Failure | undefined;

  private constructor(issuer: Issuer, trust: TrustState) {
    this.#issuer = issuer;
    this.#trust = trust;
  }

  static async create(now: number): Promise<MemoryState> {
    const { root, intermediate } = await createAuthority(DOMAIN, now);
    const bundles = new Map([[DOMAIN, must(bundleFromPem(DOMAIN, root.certificatePem))]]);
    const chainPem = intermediate.certificatePem;
    const issuer = {
      trustDomain: DOMAIN,
      rootId: "0".repeat(16),
      signer: intermediate,
      chainPem,
      notAfter: now + YEAR_MS,
    };
    return new MemoryState(issuer, { version: 1, bundles, revocations: new Map(), crls: [] });
  }

  issuer(): Issuer {
    return this.#issuer;
  }

  trust(): TrustState {
    return this.#trust;
  }

  /** Changes issuer or trust. */
  change(parts: { readonly issuer?: Partial<Issuer>; readonly trust?: Partial<TrustState> }): void {
    if (parts.issuer !== undefined) this.#issuer = { ...this.#issuer, ...parts.issuer };
    if (parts.trust !== undefined) this.#trust = { ...this.#trust, version: this.#trust.version + 1, ...parts.trust };
    for (const listener of this.#listeners) listener();
  }

  async record(issued: IssuedRecord): Promise<Failure | undefined> {
    this.records.push(issued);
    return this.recorded;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
  }
}

/** An open port and all that a test may turn. */
export interface TestPort extends Port {
  readonly state: MemoryState;
  readonly clock: FakeClock;
  readonly port: number;
  readonly root: string;
  readonly refused: Failure[];
  readonly dropped: Failure[];
  readonly defects: Failure[];
  /** Lines of the audit. */
  readonly lines: string[];
  /** A join token of an account, for an hour. */
  token(account: string, uses?: number): Promise<string>;
}

/** Opens a port for a test, which closes it at its end. */
export async function testPort(
  context: TestContext,
  options: {
    readonly limits?: Partial<AuthorityLimits>;
    readonly serviceAccounts?: ServiceAccountVerifier;
    readonly startMs?: number;
    /** Makes the configuration stream; without it there is none. */
    readonly config?: (clock: FakeClock) => ConfigStreams;
  } = {},
): Promise<TestPort> {
  const clock = new FakeClock(options.startMs ?? Date.now());
  const state = await MemoryState.create(clock.now());
  const folder = mkdtempSync(join(tmpdir(), "culvert-port-"));
  const tokens = new TokenStore(folder);
  const [refused, dropped, defects, lines]: [Failure[], Failure[], Failure[], string[]] = [[], [], [], []];
  const identity = must(
    await openOwnIdentity({ state, names: ["authority"], clock, onFailure: (failure) => defects.push(failure) }),
  );
  const facts = {
    sessions: none,
    watchers: none,
    trustVersion: none,
    issuerNotAfter: none,
    configClients: none,
    configDocuments: none,
  };
  const config = options.config?.(clock);
  const opened = must(
    await openPort({
      host: "127.0.0.1",
      port: 0,
      state,
      identity,
      tokens,
      serviceAccounts: options.serviceAccounts,
      lifeMs: 3_600_000,
      maxLifeMs: 86_400_000,
      limits: { ...AUTHORITY_LIMITS, ...options.limits },
      clock,
      audit: new AuditLog({ write: (line) => void lines.push(line), clock }),
      metrics: new AuthorityMetrics(new Metrics({ clock }), facts),
      onRefused: (failure) => void refused.push(failure),
      onDropped: (_remote, failure) => void dropped.push(failure),
      onDefect: (failure) => void defects.push(failure),
      config,
    }),
  );
  context.after(async () => {
    opened.watchers.drain();
    config?.drain();
    await opened.listener.close();
    identity.close();
    rmSync(folder, { recursive: true });
  });
  return {
    ...opened,
    state,
    clock,
    port: opened.listener.address.port,
    root: must(state.trust().bundles.get(DOMAIN)).pem,
    refused,
    dropped,
    defects,
    lines,
    token: async (account, uses = 1) => {
      const createdAt = clock.now();
      const spec = { namespace: "default", serviceAccount: account, createdAt, expiresAt: createdAt + 3_600_000, uses };
      return formatJoinToken(must(await tokens.create(spec)));
    },
  };
}

function none(): number {
  return 0;
}
