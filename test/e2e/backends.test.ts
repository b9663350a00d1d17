// Several backends behind one name: one dies, all die, they come back; the near ones go first; sessions are there before
// they are needed.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { countThenAnswer, startTcpApp } from "../support/apps.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { runProgram } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { converse } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const APP = 7001;
const ZONE = "topology.kubernetes.io/zone";
/** Soon ejected, soon tried again. */
const QUICK = { ejectAfter: 2, ejection: "300ms", maxEjection: "1s" };

/** Conversations without a pause, until they are stopped; what did not come back is kept. */
class Load {
  readonly wrong: string[] = [];
  done = 0;
  #stopped = false;
  readonly #running: Promise<unknown>;

  constructor(host: string, port: number, width = 4) {
    this.#running = Promise.all(Array.from({ length: width }, () => this.#run(host, port)));
  }

  async more(count: number): Promise<void> {
    const goal = this.done + count;
    await until(`${count} more conversations`, () => this.done >= goal || this.wrong.length > 0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(host: string, port: number): Promise<void> {
    while (!this.#stopped) {
      const { ended, received } = await converse(host, port, "four");
      this.done += 1;
      if (ended !== "end" || received.toString() !== "4 bytes") this.wrong.push(`${ended}: ${received.toString()}`);
    }
  }
}

/** Workloads that the client's connections have gone to since the log had `from` lines. */
function reached(proxy: Proxy, from = 0): Set<string> {
  const lines = proxy.log.slice(from).filter((line) => line["target"] === "access" && line["error"] === undefined);
  return new Set(lines.map((line) => String(line["dst.workload"])));
}

describe("several backends", () => {
  let mesh: Mesh;
  let clientAddress: string;
  let addresses: string[];

  beforeEach(async () => {
    mesh = await startMesh();
    clientAddress = mesh.address();
    addresses = [mesh.address(), mesh.address(), mesh.address()];
    for (const address of addresses) await mesh.with(startTcpApp(address, APP, countThenAnswer));
  });

  afterEach(() => mesh.stop());

  /** The resources: a zone for each backend, the client in zone `a`. */
  function write(zones: readonly string[], trafficDistribution?: string): void {
    mesh.write("mesh", [
      service("app", [{ name: "tcp", port: APP }], trafficDistribution === undefined ? {} : { trafficDistribution }),
      ...addresses.map((address, index) =>
        workloadEntry(`app-${index}`, address, {
          serviceAccount: `app-${index}`,
          app: "app",
          labels: { [ZONE]: zones[index] ?? "a" },
        }),
      ),
      workloadEntry("client", clientAddress, { serviceAccount: "client", labels: { [ZONE]: "a" } }),
    ]);
  }

  function backend(index: number): Promise<Proxy> {
    return mesh.uproxy({ name: `app-${index}`, address: addresses[index] ?? "" });
  }

  function client(options: { prewarm?: boolean; limits?: object } = {}): Promise<Proxy> {
    const { prewarm = false, limits = QUICK } = options;
    return mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: [{ listen: `${clientAddress}:${APP}`, to: `app:${APP}`, prewarm }],
      config: { limits },
    });
  }

  async function explained(): Promise<string> {
    const admin = ["--admin", `${clientAddress}:${PORTS.admin}`];
    const { stdout } = await runProgram("uproxy", ["explain", "--to", `app:${APP}`, ...admin]);
    return stdout;
  }

  test("one of three dies and comes back: no client sees it", async () => {
    write(["a", "a", "a"]);
    const [first] = await Promise.all([backend(0), backend(1), backend(2)]);
    const proxy = await client();
    const load = new Load(clientAddress, APP);
    await load.more(50);
    assert.equal(reached(proxy).size, 3);
    // Conversations that are open at this moment are lost with it; those that begin are what is promised.
    await load.stop();
    await first.kill();
    const again = new Load(clientAddress, APP);
    await proxy.logged({ message: "endpoint left out" });
    await again.more(100);
    assert.match(await explained(), /endpoint default\/app-0 at \S+ by \S+ is ejected/);
    await backend(0);
    await proxy.logged({ message: "endpoint readmitted" });
    await again.more(100);
    await again.stop();
    assert.deepEqual([...load.wrong, ...again.wrong], []);
    assert.doesNotMatch(await explained(), /ejected/);
  });

  test("all die: the client is refused and told why, and the first that comes back is used", async () => {
    write(["a", "a", "a"]);
    const backends = await Promise.all([backend(0), backend(1), backend(2)]);
    const proxy = await client({ limits: { ...QUICK, maxEjectedPercent: 100, ejection: "1m", maxEjection: "1m" } });
    assert.equal((await converse(clientAddress, APP, "four")).ended, "end");
    for (const each of backends) await each.kill();
    await until("the last resort", async () => {
      assert.equal((await converse(clientAddress, APP, "four")).ended, "ECONNRESET");
      return proxy.log.some((line) => line["message"] === "last resort");
    });
    const told = await proxy.logged({ message: "last resort" });
    assert.equal(told["code"], "NO_HEALTHY_UPSTREAM");
    await backend(1);
    await until("a conversation", async () => (await converse(clientAddress, APP, "four")).ended === "end");
    await proxy.logged({ message: "endpoint readmitted" });
  });

  test("the near ones go first, and the far ones take over when no near one is left", async () => {
    write(["b", "a", "b"], "PreferClose");
    const [, near] = await Promise.all([backend(0), backend(1), backend(2)]);
    const proxy = await client();
    const load = new Load(clientAddress, APP);
    await load.more(50);
    await load.stop();
    assert.deepEqual([...reached(proxy)], ["app-1"]);
    assert.match(await explained(), /endpoint default\/app-0 is farther/);
    await near.kill();
    const from = proxy.log.length;
    const again = new Load(clientAddress, APP);
    await again.more(100);
    await again.stop();
    assert.deepEqual([...load.wrong, ...again.wrong], []);
    assert.deepEqual(reached(proxy, from), new Set(["app-0", "app-2"]));
  });

  test("a listener that is prewarmed has its sessions before the first connection", async () => {
    write(["a", "a", "a"]);
    await Promise.all([backend(0), backend(1), backend(2)]);
    const proxy = await client({ prewarm: true });
    const opened = (): Set<unknown> =>
      new Set(proxy.log.filter((line) => line["message"] === "session-opened").map((line) => line["remote"]));
    await until("the sessions", () => opened().size === 3);
    const sessions = proxy.log.filter((line) => line["message"] === "session-opened").length;
    assert.equal((await converse(clientAddress, APP, "four")).ended, "end");
    assert.equal(proxy.log.filter((line) => line["message"] === "session-opened").length, sessions);
  });
});
