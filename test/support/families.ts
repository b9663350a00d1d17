// Machine. The suites on addresses of other families: the very same test files, in a network namespace whose loopback interface has
// addresses enough for a mesh. Needs root.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import process from "node:process";
import { command, REPOSITORY } from "./env.ts";
import { IPV6_ADDRESSES, IPV6_PREFIX } from "./loopback.ts";
import { run, succeed, type Result } from "./process.ts";

/** Which families the workloads have, in turns: see `addressFamilies`. */
export type Families = "6" | "46" | "64";

/** A suite takes its time, the namespaces share the machine with other tests. */
const SUITE_DEADLINE_MS = 110_000;

/** A namespace for one test file at a time. */
export interface FamilyHost {
  /** Runs a suite of `test/e2e` there, and fails with its output when it does. */
  suite(suite: string): Promise<void>;
  /** Runs a command there. */
  run(...line: readonly string[]): Promise<Result>;
  remove(): Promise<void>;
}

/** Makes the namespace. */
export async function familyHost(families: Families): Promise<FamilyHost> {
  const ip = command("ip");
  const name = `cv${randomBytes(3).toString("hex")}-v${families}`;
  await succeed(ip, ["netns", "add", name]);
  const remove = async (): Promise<void> => void (await run(ip, ["netns", "delete", name]));
  const inside = ["netns", "exec", name];
  try {
    await succeed(ip, ["-n", name, "link", "set", "lo", "up"]);
    for (let host = 1; host <= IPV6_ADDRESSES; host++) {
      // Without duplicate address detection, which would keep the address from use for a second.
      const address = `${IPV6_PREFIX}${host.toString(16)}/128`;
      await succeed(ip, ["-n", name, "address", "add", address, "dev", "lo", "nodad"]);
    }
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    suite: async (suite) => {
      const result = await run(ip, [...inside, process.execPath, join(REPOSITORY, `test/e2e/${suite}.test.ts`)], {
        name: `${suite} with families ${families}`,
        env: { CULVERT_TEST_FAMILIES: families },
        deadlineMs: SUITE_DEADLINE_MS,
      });
      if (result.code !== 0) throw new Error(`${result.stdout.slice(-8_000)}\n${result.stderr.slice(-2_000)}`);
    },
    run: (...line) => run(ip, [...inside, ...line]),
    remove,
  };
}

/**
 * The suites of `test/e2e` that are run with other families: those of which a mesh hands out the addresses. A new suite belongs here
 * unless it makes its own network or speaks to no other workload.
 */
export const FAMILY_SUITES: readonly string[] = [
  "chain",
  "egress",
  "envoy",
  "interop-client",
  "interop-server",
  "networks",
  "operate",
  "postgres",
  "proxy",
  "tcp",
  "unix-sockets",
  "waypoint",
  "waypoint-bodies",
  "waypoint-commands",
  "waypoint-http",
  "waypoint-operation",
  "waypoint-policy",
  "waypoint-tcp",
];
