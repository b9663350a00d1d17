// Pure. The backend that one request of a rule goes to, by weight.
import type { HttpRouteBackend } from "@culvert/shared/config/http-route.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { RoutedRule } from "./entry.ts";

/**
 * Picks a backend with the chance `weight / sum of all weights`; references that can never be served keep their share,
 * and the requests that fall on them fail with BACKEND_INVALID, as do those of a rule without backends.
 *
 * @param random at least 0, less than 1
 */
export function chooseBackend(
  routed: Pick<RoutedRule, "route" | "rule" | "name">,
  random: number,
): HttpRouteBackend | Failure {
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
