// Pure. The name that Kubernetes gives to a service account as a user.
import { isDnsLabel, isDnsName } from "@culvert/shared/config/names.ts";
import { fail } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";

/** Reads `system:serviceaccount:<namespace>:<name>`. Fails with TOKEN_REFUSED for any other user. */
export function serviceAccountOf(user: unknown): { readonly namespace: string; readonly name: string } | Failure {
  const [, namespace = "", name = ""] =
    typeof user === "string" ? (/^system:serviceaccount:([^:]{1,63}):([^:]{1,253})$/.exec(user) ?? []) : [];
  if (isDnsLabel(namespace) && isDnsName(name)) return { namespace, name };
  const shown = typeof user === "string" ? JSON.stringify(user.slice(0, 128)) : typeof user;
  return fail("TOKEN_REFUSED", `the subject is no service account: ${shown}`);
}
