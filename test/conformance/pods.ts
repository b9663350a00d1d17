// Pure. The pods of the suite, named as a cluster would name them.

/** What cases call them. */
export type PodName = "echo-v1" | "echo-v2" | "echo-v3" | "consumer";

/** What the world calls them. */
export interface PodIdentity {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Where the suite has what it makes. */
export const MESH = "gateway-conformance-mesh";
const CONSUMER = "gateway-conformance-mesh-consumer";

/** All pods. */
export const PODS: Readonly<Record<PodName, PodIdentity>> = {
  "echo-v1": { name: "echo-v1-7d9f5b6c8d-4xk2p", namespace: MESH, labels: { app: "echo", version: "v1" } },
  "echo-v2": { name: "echo-v2-6c8b7d5f9c-q7w9z", namespace: MESH, labels: { app: "echo", version: "v2" } },
  // Not selected by `echo`: for cases that bring a Service for it.
  "echo-v3": { name: "echo-v3-5f6d8c7b9f-m3n8s", namespace: MESH, labels: { app: "echo-third", version: "v3" } },
  consumer: { name: "echo-v1-8b7c6d5f4d-t5r2k", namespace: CONSUMER, labels: { app: "echo", version: "v1" } },
};

/** Tells whether a word names a pod. */
export function isPodName(word: string): word is PodName {
  return Object.hasOwn(PODS, word);
}
