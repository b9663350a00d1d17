// Pure. The backend that one request or connection of a rule goes to, by weight.
import type { BackendRef } from "@culvert/shared/config/http-route.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";

/** A rule that was found for a request or connection. */
interface FoundRule<Backend> {
  readonly route: { readonly uid: string };
  readonly rule: { readonly backends: readonly Backend[] };
  readonly name: string;
}

/**
 * Picks a backend with the chance `weight / sum of all weights`; references that can never be served keep their share,
 * and what falls on them fails with BACKEND_INVALID, as does all of a rule without backends.
 *
 * @param random at least 0, less than 1
 */
export function chooseBackend<Backend extends BackendRef & { readonly weight: number }>(
  routed: FoundRule<Backend>,
  random: number,
): Backend | Failure {
  const { backends } = routed.rule;
  const where = `${routed.route.uid} ${routed.name}`;
  if (backends.length === 0) return fail("BACKEND_INVALID", `${where} names no backend`);
  let total = 0;
  for (const backend of backends) total += backend.weight;
  let left = random * total;
  for (const backend of backends) {
    left -= backend.weight;
    if (left >= 0) continue;
    if (backend.invalid === undefined) return backend;
    return fail("BACKEND_INVALID", `${where}: ${backend.namespace}/${backend.name}: ${backend.invalid}`);
  }
  return fail("BACKEND_INVALID", `${where}: all weights are zero`);
}
