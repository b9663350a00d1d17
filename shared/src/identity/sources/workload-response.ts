// Pure. One answer of the SPIFFE Workload API to FetchX509SVID (`workload.proto`): which of its SVIDs is ours, whom it trusts,
// and what of it cannot be used. Its bytes come from the node's agent and are bounded by the client that read them.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { bytesOf, decodeMessage, mapOf, textOf } from "../../grpc/message.ts";
import type { Field } from "../../grpc/message.ts";
import { bundleFromDer } from "../bundle.ts";
import type { Bundle, RevocationList, Svid } from "../source.ts";
import { parseTrustDomain, trustDomainOf } from "../spiffe-id.ts";
import type { TrustDomain } from "../spiffe-id.ts";
import { svidFromDer } from "../svid.ts";
import { revocationListsFromDers } from "../trust/revocations.ts";

/** What one answer says. */
export interface X509Response {
  readonly svid: Svid;
  /** The bundle of the SVID's own trust domain and those of the federated ones. */
  readonly bundles: ReadonlyMap<TrustDomain, Bundle>;
  /** Undefined when the lists cannot be read. */
  readonly lists: readonly RevocationList[] | undefined;
  /** What was left out or stays as it was, and why. */
  readonly problems: readonly Failure[];
}

/** Field numbers of X509SVIDResponse and X509SVID. */
const RESPONSE = { svids: 1, crl: 2, federatedBundles: 3 } as const;
const SVID = { id: 1, chain: 2, key: 3, bundle: 4, hint: 5 } as const;

const MAX_SVIDS = 64;
const MAX_FEDERATED = 64;
const SCHEME = "spiffe://";
/** Of what an agent calls its SVIDs, in an error. */
const MAX_QUOTED = 64;

/**
 * Reads an answer. The SVID is the first with `hint`, or the first of all where none is wanted (Workload API section 5.3). A
 * federated bundle that cannot be used does not spoil the rest: what `before` holds for its trust domain stays. Fails with
 * IDENTITY_NOT_GIVEN when no SVID is meant, and as `svidFromDer` and `bundleFromDer` do.
 */
export function readX509Response(
  message: Uint8Array,
  hint: string | undefined,
  before: ReadonlyMap<TrustDomain, Bundle>,
): X509Response | Failure {
  const response = decodeMessage(message);
  if (response === undefined) return fail("IDENTITY_MALFORMED", "the answer is no X509SVIDResponse");
  const chosen = chooseSvid(response, hint);
  if (isFailure(chosen)) return chosen;
  const svid = svidFromDer(lastBytes(chosen, SVID.chain), lastBytes(chosen, SVID.key));
  if (isFailure(svid)) return svid;
  const named = textOf(chosen, SVID.id);
  if (named !== svid.id) {
    return fail("IDENTITY_MALFORMED", `${svid.id}: the answer says that it is the SVID of ${quoted(named)}`);
  }
  const own = trustDomainOf(svid.id);
  const bundle = bundleFromDer(own, lastBytes(chosen, SVID.bundle));
  if (isFailure(bundle)) return bundle;
  const problems: Failure[] = [];
  const bundles = readFederated(response, own, before, problems);
  if (isFailure(bundles)) return bundles;
  const lists = revocationListsFromDers(bytesOf(response, RESPONSE.crl), "crl");
  if (isFailure(lists)) problems.push(lists);
  return { svid, bundles: new Map([[own, bundle], ...bundles]), lists: isFailure(lists) ? undefined : lists, problems };
}

function chooseSvid(response: readonly Field[], hint: string | undefined): readonly Field[] | Failure {
  const given = bytesOf(response, RESPONSE.svids);
  if (given.length > MAX_SVIDS) return fail("IDENTITY_MALFORMED", `the answer holds more than ${MAX_SVIDS} SVIDs`);
  const hints: string[] = [];
  for (const bytes of given) {
    const fields = decodeMessage(bytes);
    if (fields === undefined) return fail("IDENTITY_MALFORMED", "the answer holds something that is no X509SVID");
    const its = textOf(fields, SVID.hint);
    if (hint === undefined || its === hint) return fields;
    hints.push(its === "" ? "none" : quoted(its));
  }
  if (hint === undefined || hints.length === 0) return fail("IDENTITY_NOT_GIVEN", "the answer holds no SVID");
  return fail("IDENTITY_NOT_GIVEN", `no SVID has the hint ${quoted(hint)}; hints given: ${hints.join(", ")}`);
}

function readFederated(
  response: readonly Field[],
  own: TrustDomain,
  before: ReadonlyMap<TrustDomain, Bundle>,
  problems: Failure[],
): ReadonlyMap<TrustDomain, Bundle> | Failure {
  const given = mapOf(response, RESPONSE.federatedBundles);
  if (given === undefined) return fail("IDENTITY_MALFORMED", "federated bundles: an entry cannot be read");
  if (given.size > MAX_FEDERATED) {
    return fail("IDENTITY_MALFORMED", `federated bundles: more than ${MAX_FEDERATED} trust domains`);
  }
  const bundles = new Map<TrustDomain, Bundle>();
  for (const [name, der] of given) {
    // The standard has the ID of the trust domain as the key; its bare name says the same.
    const domain = parseTrustDomain(name.startsWith(SCHEME) ? name.slice(SCHEME.length) : name);
    if (isFailure(domain)) {
      problems.push(fail(domain.code, `federated bundle: ${domain.detail}`));
      continue;
    }
    if (domain === own) {
      problems.push(fail("IDENTITY_MALFORMED", `federated bundle: ${own} is the own trust domain`));
      continue;
    }
    const bundle = bundleFromDer(domain, der);
    if (!isFailure(bundle)) bundles.set(domain, bundle);
    else {
      problems.push(fail(bundle.code, `federated ${bundle.detail}`));
      const kept = before.get(domain);
      if (kept !== undefined) bundles.set(domain, kept);
    }
  }
  return bundles;
}

function lastBytes(fields: readonly Field[], number: number): Uint8Array {
  return bytesOf(fields, number).at(-1) ?? new Uint8Array();
}

/** One line, bounded, with nothing that a terminal would act upon. */
function quoted(text: string): string {
  return JSON.stringify(text.slice(0, MAX_QUOTED)).replaceAll(/[^\x20-\x7e]/g, "?");
}
