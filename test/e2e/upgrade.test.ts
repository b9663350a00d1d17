// A uproxy that ends, and one that takes over from another: what is lost on the way is nothing.
import assert from "node:assert/strict";
import { after, before, describe, test, type TestContext } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { rolls } from "../support/env.ts";
import { ask } from "../support/http.ts";
import { startMesh, PORTS, type Mesh, type Proxy, type ProxyOptions } from "../support/mesh.ts";
import { runProgram } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { converse, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";
import { join } from "node:path";

const ECHO = 7001;
const REQUESTS_PER_ROLL = 2_000;
const CLIENTS = 8;

interface Pair {
  readonly mesh: Mesh;
  readonly client: ProxyOptions;
  readonly app: ProxyOptions;
}

async function pair(context: TestContext): Promise<Pair> {
  const started = await startPair();
  context.after(() => started.mesh.stop());
  return started;
}

async function startPair(): Promise<Pair> {
  const mesh = await startMesh();
  const client = mesh.address();
  const app = mesh.address();
  mesh.write("mesh", [
    service("app", [{ name: "tcp", port: ECHO }]),
    workloadEntry("app", app, { serviceAccount: "app" }),
    workloadEntry("client", client, { serviceAccount: "client" }),
  ]);
  await mesh.with(startTcpApp(app, ECHO, echo));
  const config = { drain: { timeout: "10s" } };
  return {
    mesh,
    app: { name: "app", address: app, config },
    client: {
      name: "client",
      address: client,
      config,
      listeners: [{ listen: `${client}:${ECHO}`, to: `app:${ECHO}` }],
    },
  };
}

/** Short requests one after another from several clients at once, until told to stop. */
class Load {
  readonly failures: string[] = [];
  done = 0;
  #stopped = false;
  readonly #running: Promise<unknown>;

  constructor(host: string) {
    this.#running = Promise.all(Array.from({ length: CLIENTS }, () => this.#client(host)));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #client(host: string): Promise<void> {
    while (!this.#stopped) {
      const text = `request ${this.done}`;
      const { received, ended } = await converse(host, ECHO, text);
      this.done += 1;
      if (received.toString() !== text || ended !== "end") this.failures.push(`${ended} after "${String(received)}"`);
    }
  }
}

describe("rolling restarts", () => {
  let rolling: Pair;
  let atApp: Proxy;
  let atClient: Proxy;
  let load: Load;

  before(async () => {
    rolling = await startPair();
    atApp = await rolling.mesh.uproxy(rolling.app);
    atClient = await rolling.mesh.uproxy(rolling.client);
    load = new Load(rolling.client.address);
  });

  after(async () => {
    await load.stop();
    await rolling.mesh.stop();
  });

  for (let roll = 1; roll <= rolls(); roll++) {
    test(`roll ${roll}: both ends are replaced under ${REQUESTS_PER_ROLL} requests, and none is lost`, async () => {
      const { mesh, app, client } = rolling;
      atApp = await mesh.uproxy({ ...app, takeover: atApp });
      atClient = await mesh.uproxy({ ...client, takeover: atClient });
      await until("the requests of a roll", () => load.done >= roll * REQUESTS_PER_ROLL, 60_000);
      assert.deepEqual(load.failures, []);
    });
  }
});

describe("a takeover", () => {
  test("an open tunnel goes on in the old process until the drain timeout, and new ones are the new process's", async (context) => {
    const { mesh, client, app } = await pair(context);
    const old = await mesh.uproxy({ ...app, config: { drain: { timeout: "3s" } } });
    await mesh.uproxy(client);
    const long = await dial(client.address, ECHO);
    long.send("before");
    await long.bytes(6);
    const taking = mesh.uproxy({ ...app, takeover: old });
    await old.logged({ message: "draining" });
    long.send(" and after");
    await long.bytes(16);
    const { received } = await converse(client.address, ECHO, "new");
    assert.equal(String(received), "new");
    const successor = await taking;
    assert.match(await long.ended(), /ECONNRESET/, "what the deadline cuts short does not look whole");
    assert.equal(successor.log.filter(({ message }) => message === "taking over").length, 1);
    assert.deepEqual(
      old.log.filter(({ message, level }) => message === "session-ended" && level === "warn"),
      [],
    );
  });
});

describe("shutdown under load", () => {
  test("two endpoints, one is told to end: readiness first, then nothing fails", async (context) => {
    const mesh = await startMesh();
    context.after(() => mesh.stop());
    const [client, one, two] = [mesh.address(), mesh.address(), mesh.address()];
    mesh.write("mesh", [
      service("app", [{ name: "tcp", port: ECHO }]),
      workloadEntry("app", one, { serviceAccount: "app" }),
      workloadEntry("app-2", two, { serviceAccount: "app", labels: { app: "app" } }),
      workloadEntry("client", client, { serviceAccount: "client" }),
    ]);
    for (const address of [one, two]) await mesh.with(startTcpApp(address, ECHO, echo));
    const first = await mesh.uproxy({ name: "app", address: one, config: { drain: { timeout: "10s" } } });
    await mesh.uproxy({ name: "app-2", account: "app", address: two });
    const caller = await mesh.uproxy({
      name: "client",
      address: client,
      listeners: [{ listen: `${client}:${ECHO}`, to: `app:${ECHO}` }],
    });
    const load = new Load(client);
    await until("some load", () => load.done > 200);
    first.program.signal("SIGTERM");
    await until("readiness to go", async () => {
      const { status } = await ask(`http://${one}:${PORTS.readiness}/healthz/ready`).catch(() => ({ status: 503 }));
      return status === 503;
    });
    const { code } = await first.program.exited;
    assert.equal(code, 0);
    const done = load.done;
    await until("load after the end", () => load.done > done + 500);
    await load.stop();
    assert.deepEqual(load.failures, []);
    quiet(first);
    quiet(caller);
  });
});

/** An end in order is nothing to warn of, on either side. */
function quiet(proxy: Proxy): void {
  const warned = proxy.log.filter(({ message, level }) => level === "warn" && message === "session-ended");
  assert.deepEqual(warned, [], proxy.name);
}

describe("a port is shared on purpose only", () => {
  test("a second uproxy with the same ports is refused, unless it takes over", async (context) => {
    const { mesh, app } = await pair(context);
    await mesh.uproxy(app);
    const refused = await runProgram("uproxy", ["run", "--config", join(mesh.folder, "app.yaml")]);
    assert.equal(refused.code, 4);
    assert.match(refused.stderr, /readiness: .*EADDRINUSE/);
  });

  test("with nobody to take over from it just starts", async (context) => {
    const { mesh, app } = await pair(context);
    const first = await mesh.uproxy(app);
    await first.program.stop();
    const second = mesh.uproxy({ ...app, takeover: first });
    const proxy = await second;
    await proxy.logged({ message: "nobody to take over from" });
  });
});
