// For tests: a source over a signer that plays every part, on a clock that is moved.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { svidName, testAuthority, type CertificateSpec, type TestAuthority } from "@culvert/test/support/ca.ts";
import { must } from "@culvert/test/support/must.ts";
import { signRequest } from "@culvert/test/support/signing.ts";
import { until } from "@culvert/test/support/until.ts";
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { FakeClock } from "../../net/fake-clock.ts";
import { bundleFromPem } from "../bundle.ts";
import type { Bundle, IdentityEvent, ReloadableSource } from "../source.ts";
import type { TrustDomain } from "../spiffe-id.ts";
import { openCaSource, type CaSourceOptions } from "./ca-source.ts";
import type { SigningAnswer, SigningRequest } from "./certificate-signer.ts";
import type { TrustState } from "./trust-stream.ts";

export const HOUR_MS = 3_600_000;
export const ours = await testAuthority("ours.test");
export const impostor = await testAuthority("ours.test");
export const reviews = svidName(ours, "default", "reviews");
export const ratings = svidName(ours, "default", "ratings");

export type Part = (request: SigningRequest) => Promise<SigningAnswer>;

export interface Lab {
  readonly folder: string;
  readonly clock: FakeClock;
  readonly events: IdentityEvent[];
  readonly requests: SigningRequest[];
  /** What the authority does next. */
  part: Part;
  /** What it tells of trust, once the source listens. */
  tell: ((state: TrustState) => void) | undefined;
  trustRestarts: number;
  readonly open: (options?: Partial<CaSourceOptions>) => Promise<ReloadableSource | Failure>;
  readonly codes: (kind: IdentityEvent["kind"]) => string[];
}

export const refused: SigningAnswer = { failure: fail("IDENTITY_NOT_GIVEN", "UNAUTHENTICATED"), isRefusal: true };
export const down: SigningAnswer = { failure: fail("IDENTITY_NOT_GIVEN", "UNAVAILABLE"), isRefusal: false };

export function lab(context: TestContext): Lab {
  const folder = mkdtempSync(join(tmpdir(), "culvert-ca-source-"));
  writeFileSync(join(folder, "token"), "one-time\n");
  const clock = new FakeClock(Date.now());
  const sources: ReloadableSource[] = [];
  context.after(() => {
    for (const source of sources) source.close();
    rmSync(folder, { recursive: true });
    assert.equal(clock.pending, 0, "timers are left");
  });
  const made: Lab = {
    folder,
    clock,
    events: [],
    requests: [],
    part: issue(clock),
    tell: undefined,
    trustRestarts: 0,
    codes: (kind) =>
      made.events.flatMap((event) => (event.kind === kind && "failure" in event ? [event.failure.code] : [])),
    open: async (options = {}) => {
      const source = await openCaSource({
        name: "authority: here",
        signer: {
          sign: (request) => {
            made.requests.push(request);
            return made.part(request);
          },
          close: () => undefined,
        },
        token: join(folder, "token"),
        renewsByCertificate: true,
        expected: () => undefined,
        store: undefined,
        lifeMs: HOUR_MS,
        clock,
        onEvent: (event) => void made.events.push(event),
        random: () => 0.5,
        watchTrust: (_identity, onState) => {
          made.tell = onState;
          return { restart: () => (made.trustRestarts += 1), close: () => (made.tell = undefined) } as never;
        },
        ...options,
      });
      if (!isFailure(source)) sources.push(source);
      return source;
    },
  };
  return made;
}

/** An authority that issues certificates of an hour. */
export function issue(
  clock: FakeClock,
  id = reviews,
  spec: CertificateSpec = {},
  authority: TestAuthority = ours,
): Part {
  return async ({ csrPem }) => {
    const notAfter = new Date(clock.now() + HOUR_MS);
    const { chain } = await signRequest(authority, csrPem, id, { notBefore: new Date(clock.now()), notAfter, ...spec });
    return { chain };
  };
}

/** A service account token, as far as it is read here. */
export function tokenOf(account: string, round = 1): string {
  const claims = { sub: `system:serviceaccount:default:${account}`, round };
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.sig`;
}

export const bundleOf = (authority: TestAuthority): Bundle =>
  must(bundleFromPem(authority.trustDomain, authority.bundlePem));

export function trust(...bundles: readonly Bundle[]): TrustState {
  const map = new Map<TrustDomain, Bundle>();
  for (const bundle of bundles) map.set(bundle.trustDomain, bundle);
  return { bundles: map, revocationLists: [] };
}

/** Moves the clock past the next wait until the condition holds. */
export function moving(clock: FakeClock, what: string, condition: () => boolean): Promise<unknown> {
  return until(what, () => {
    if (condition()) return true;
    clock.advance(1_000);
    return false;
  });
}
