// Pure. Which BackendTLSPolicy a service port has.
import { hash } from "node:crypto";
import type { BackendTls } from "@culvert/shared/config/backend-tls.ts";
import { byAge } from "@culvert/shared/config/by-age.ts";
import type { Service, ServicePort } from "@culvert/shared/workload/workload.ts";

/** A policy in use, and a text that is equal for equal policies alone: what connections are kept by. */
export interface BackendTlsUse {
  readonly policy: BackendTls;
  readonly key: string;
}

/** The policies of a snapshot by what they are for. */
export class BackendTlsIndex {
  readonly #byTarget = new Map<string, BackendTls>();
  readonly #uses = new Map<BackendTls, BackendTlsUse>();

  constructor(policies: readonly BackendTls[]) {
    for (const policy of policies.toSorted(byAge)) {
      for (const { name, sectionName } of policy.targets) {
        const target = targetKey(policy.namespace, name, sectionName);
        if (!this.#byTarget.has(target)) this.#byTarget.set(target, policy);
      }
    }
  }

  /** The policy of the port by its name, else of the whole Service; of several the oldest. */
  of({ namespace, name, entry }: Service, port: ServicePort): BackendTlsUse | undefined {
    if (this.#byTarget.size === 0 || entry !== undefined) return undefined;
    const policy =
      this.#byTarget.get(targetKey(namespace, name, port.name)) ??
      this.#byTarget.get(targetKey(namespace, name, undefined));
    if (policy === undefined) return undefined;
    let use = this.#uses.get(policy);
    if (use === undefined) {
      use = { policy, key: keyOf(policy) };
      this.#uses.set(policy, use);
    }
    return use;
  }
}

function targetKey(namespace: string, name: string, sectionName: string | undefined): string {
  return sectionName === undefined ? `${namespace}/${name}` : `${namespace}/${name} ${sectionName}`;
}

function keyOf({ uid, hostname, subjectAltNames, roots }: BackendTls): string {
  return `tls ${uid} ${hash("sha256", JSON.stringify([hostname, subjectAltNames, roots]))}`;
}
