// Machine. What must hold in every architecture, as tests that only know a running `Architecture`: the same bodies for each
// placement, whatever the capture mode and the source of the configuration are.
import assert from "node:assert/strict";
import type { Architecture } from "./architecture.ts";
import { APP_PORT, DENIED_PATH, INSTANCES, RATINGS_PATH } from "./architecture-resources.ts";
import { ask } from "./http.ts";
import type { Proxy } from "./mesh.ts";
import { until } from "./until.ts";

/** One thing that must hold. It leaves the mesh as it found it. */
export interface ArchitectureBody {
  readonly name: string;
  readonly run: (architecture: Architecture) => Promise<void>;
}

/** Requests of one body, in which both applications, and both instances where there are two, take part. */
const REQUESTS = 24;

let bodies = 0;

/** A path that no other body asks for. */
function ownPath(): string {
  bodies += 1;
  return `/body-${bodies}`;
}

/** The requests for a path that an instance has served. */
function served(instance: Proxy, path: string): readonly Readonly<Record<string, unknown>>[] {
  return instance.log.filter((line) => line["target"] === "access" && line["path"] === path);
}

/** All bodies, in an order in which they may run. */
export const ARCHITECTURE_BODIES: readonly ArchitectureBody[] = [
  {
    name: "every request goes through an instance that the placement names, to an application of the service",
    run: async (architecture) => {
      const { said, instances, places } = architecture;
      const path = ownPath();
      const apps = new Set<string>();
      for (let count = 0; count < REQUESTS; count += 1) apps.add((await architecture.echoed("reviews", path)).app);
      assert.deepEqual([...apps].toSorted(), ["reviews-1", "reviews-2"]);
      const plans = INSTANCES[said.placement];
      // On the client's node there is an instance, and nobody has to leave it.
      const expected = said.placement === "node" ? plans.filter(({ name }) => name === "node-1") : plans;
      const lines = (): number =>
        expected.reduce((sum, { name }) => sum + served(instances.get(name) as Proxy, path).length, 0);
      await until("a line for each request", () => lines() === REQUESTS);
      for (const { name, pod, isBeside } of expected) {
        const own = served(instances.get(name) as Proxy, path);
        assert.ok(own.length > 0, `${name} has served nothing`);
        if (!isBeside) continue;
        const hosts = new Set(own.map((line) => line["upstream_host"]));
        assert.deepEqual([...hosts], [`${places[pod].address}:${APP_PORT}`], `${name} leads to its own pod`);
      }
    },
  },
  {
    name: "the policy of the service is decided by what only HTTP says",
    run: async (architecture) => {
      assert.equal((await architecture.ask("reviews", DENIED_PATH)).status, 403);
    },
  },
  {
    name: "a route leads to another backend; what serves one account alone leads to no other account",
    run: async (architecture) => {
      if (architecture.said.placement !== "service-account") {
        assert.equal((await architecture.echoed("reviews", RATINGS_PATH)).app, "ratings-1");
        return;
      }
      const { status } = await architecture.ask("reviews", RATINGS_PATH);
      assert.equal(status, 503);
      const [plan] = INSTANCES["service-account"];
      await architecture.instances.get(plan?.name ?? "")?.access({ path: RATINGS_PATH, code: "ACCOUNT_NOT_SERVED" });
    },
  },
  {
    name: "nobody gets past the waypoint",
    run: async (architecture) => {
      const { places, apps } = architecture;
      const to = `${places["reviews-1"].address}:${APP_PORT}`;
      const path = ownPath();
      const outcome = await architecture.ask(to, path).then(
        ({ status }) => status,
        () => "refused",
      );
      assert.ok(outcome === "refused" || (typeof outcome === "number" && outcome >= 400), String(outcome));
      await apps.get("reviews-1")?.access({ code: "WAYPOINT_REQUIRED" });
    },
  },
  {
    name: "an explanation names the placement and the instances",
    run: async ({ client, said }) => {
      const { body } = await ask(`http://${client.admin}/explain?to=reviews:80`);
      assert.match(body, new RegExp(`placement ${said.placement}`));
      const [first] = INSTANCES[said.placement];
      assert.match(body, new RegExp(`instance default/${first?.name} at `));
    },
  },
  {
    name: "without an instance nothing passes",
    run: async (architecture) => {
      const { client, said } = architecture;
      await architecture.say({ without: INSTANCES[said.placement].map(({ name }) => name) });
      try {
        const outcome = await architecture.ask("reviews", ownPath()).then(
          ({ status }) => status,
          () => "refused",
        );
        assert.notEqual(outcome, 200);
        await client.access({ code: "WAYPOINT_UNAVAILABLE" });
      } finally {
        await architecture.say({ without: [] });
      }
    },
  },
];
