// Pure. Resources by their topics, kept up with each change: every question of a scope is one look-up.
import type { Resource } from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";
import { topicsOf } from "./topics.ts";

/** See the head of the file. */
export class ResourceIndex {
  readonly #resources = new Map<string, Resource>();
  readonly #byTopic = new Map<string, Set<Resource>>();

  /** @param resources of one id the first counts */
  constructor(resources: Iterable<Resource> = []) {
    for (const resource of resources) if (!this.#resources.has(titleOf(resource))) this.set(resource);
  }

  get size(): number {
    return this.#resources.size;
  }

  /** The resource of an id, `Kind namespace/name`. */
  get(id: string): Resource | undefined {
    return this.#resources.get(id);
  }

  /** What is found under a topic. */
  under(topic: string): ReadonlySet<Resource> {
    return this.#byTopic.get(topic) ?? NOTHING;
  }

  /** Adds a resource, or puts it in the place of the one of its id; answers the topics of both. */
  set(resource: Resource): ReadonlySet<string> {
    const before = this.delete(titleOf(resource));
    this.#resources.set(titleOf(resource), resource);
    const topics = topicsOf(resource);
    for (const topic of topics) {
      const found = this.#byTopic.get(topic);
      if (found === undefined) this.#byTopic.set(topic, new Set([resource]));
      else found.add(resource);
    }
    return before.size === 0 ? topics : topics.union(before);
  }

  /** Takes a resource away; answers its topics. */
  delete(id: string): ReadonlySet<string> {
    const resource = this.#resources.get(id);
    if (resource === undefined) return NO_TOPICS;
    this.#resources.delete(id);
    const topics = topicsOf(resource);
    for (const topic of topics) {
      const found = this.#byTopic.get(topic);
      found?.delete(resource);
      if (found?.size === 0) this.#byTopic.delete(topic);
    }
    return topics;
  }
}

const NOTHING: ReadonlySet<Resource> = new Set();
const NO_TOPICS: ReadonlySet<string> = new Set();
