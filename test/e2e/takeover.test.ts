// `run --takeover` where a port cannot be shared: listeners and admin port on UNIX sockets, whose file the successor replaces; and of a
// waypoint, whose tunnels carry requests of many clients. Under load, and nothing is lost.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { startHttpApp, type Echoed } from "../support/apps.ts";
import { field } from "../support/http-message.ts";
import { HttpWire, request } from "../support/http-wire.ts";
import { startMesh, type Mesh, type Proxy, type ProxyOptions } from "../support/mesh.ts";
import { runProgram } from "../support/programs.ts";
import { service, waypoint, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const HTTP = 8080;
const LISTENER = 9080;
const CLIENTS = 6;
/** Between two takeovers, and after the last. */
const REQUESTS = 300;
const CONFIG = { drain: { timeout: "10s" } };

type Target = { readonly path: string } | { readonly host: string; readonly port: number };

/** Requests one after another from several clients at once; `keeping` of them keep their connection until they are told not to. */
class Load {
  readonly failures: string[] = [];
  done = 0;
  #isStopped = false;
  readonly #running: Promise<unknown>;

  constructor(target: Target, keeping: number) {
    const clients = Array.from({ length: CLIENTS }, (_, index) => this.#client(target, index < keeping));
    this.#running = Promise.all(clients);
  }

  /** Waits for so many more requests, none of which may have failed. */
  async more(count: number): Promise<void> {
    const goal = this.done + count;
    await until(`${count} requests`, () => this.done >= goal || this.failures.length > 0, 60_000);
    assert.deepEqual(this.failures, []);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #client(target: Target, keeps: boolean): Promise<void> {
    let wire: HttpWire | undefined;
    while (!this.#isStopped) {
      const path = `/${this.done}`;
      wire ??= new HttpWire(connect({ ...target, allowHalfOpen: true }));
      try {
        const answer = await wire.ask(request("GET", path, keeps ? {} : { connection: "close" }));
        const { url } = JSON.parse(answer.text) as Echoed;
        if (url !== path) this.failures.push(`${path} was answered for ${url}`);
        if (!keeps || field(answer.head, "connection") === "close") {
          wire.close();
          wire = undefined;
        }
      } catch (error) {
        this.failures.push(`${path}: ${String(error)}`);
        return;
      }
      this.done += 1;
    }
    wire?.close();
  }
}

/** An app that many clients may keep connections to. */
async function startApp(mesh: Mesh, address: string): Promise<void> {
  await mesh.with(startHttpApp(address, HTTP, "app"));
  await mesh.uproxy({ name: "app", address });
}

describe("a takeover of UNIX sockets", () => {
  let mesh: Mesh;
  let options: ProxyOptions;
  let client: Proxy;
  let load: Load;
  let sockets: string;
  let listener: string;

  before(async () => {
    mesh = await startMesh();
    const [address, app] = [mesh.address(), mesh.address()];
    mesh.write("mesh", [
      service("app", [{ name: "http", port: 80, targetPort: HTTP }]),
      workloadEntry("app", app, { serviceAccount: "app" }),
      workloadEntry("client", address, { serviceAccount: "client" }),
    ]);
    await startApp(mesh, app);
    sockets = mesh.folder;
    listener = join(sockets, "app.sock");
    options = {
      name: "client",
      address,
      config: {
        ...CONFIG,
        outbound: {
          listeners: [{ listen: `unix:${listener}`, to: "app:80", mode: "0600" }],
          proxy: `unix:${join(sockets, "proxy.sock")}`,
        },
        admin: `unix:${join(sockets, "admin.sock")}`,
      },
    };
    client = await mesh.uproxy(options);
    // Who reads no byte cannot tell a client to let go of its connection, so these ask once on each.
    load = new Load({ path: listener }, 0);
  });

  after(async () => {
    await load.stop();
    await mesh.stop();
  });

  const files = (): string[] => readdirSync(sockets).filter((file) => file.includes(".sock"));

  test("replaced twice under load none is lost, and files and modes are those of the last", async () => {
    await load.more(REQUESTS);
    for (let round = 0; round < 2; round += 1) {
      const inode = statSync(listener).ino;
      client = await mesh.uproxy({ ...options, takeover: client });
      assert.notEqual(statSync(listener).ino, inode, "the successor's own socket is there");
      await load.more(REQUESTS);
    }
    assert.deepEqual(files().toSorted(), ["admin.sock", "app.sock", "proxy.sock"]);
    assert.deepEqual(
      ["app.sock", "proxy.sock", "admin.sock"].map((file) => statSync(join(sockets, file)).mode & 0o777),
      [0o600, 0o660, statSync(join(sockets, "admin.sock")).mode & 0o777],
    );
    assert.equal(client.log.filter(({ message }) => message === "taking over").length, 1);
  });

  test("an open connection goes on in the old process, and new ones are the new one's", async () => {
    const long = new HttpWire(connect({ path: listener, allowHalfOpen: true }));
    assert.equal((await long.get("/before")).status, 200);
    const old = client;
    const taking = mesh.uproxy({ ...options, takeover: old });
    await old.logged({ message: "draining" });
    assert.equal((await long.get("/after")).status, 200);
    long.close();
    client = await taking;
    await load.more(REQUESTS);
  });

  test("a file tells which process serves, once it does; where none can be written it serves all the same", async () => {
    const file = join(mesh.folder, "pid");
    const old = client;
    client = await mesh.uproxy({ ...options, takeover: old, flags: ["--pid-file", file] });
    await until("the file", () => readFileSync(file, "utf8") === `${client.program.pid}\n`);
    client = await mesh.uproxy({ ...options, takeover: client, flags: ["--pid-file", join(file, "no-folder")] });
    await client.program.line(/^--pid-file: expected a file that can be written, found: .*ENOTDIR/);
    client.program.errors.length = 0;
    await load.more(REQUESTS);
  });

  test("after the end of the last no file is left", async () => {
    await load.stop();
    assert.equal((await client.program.stop()).code, 0);
    assert.ok(!existsSync(listener));
    assert.deepEqual(files(), []);
  });
});

describe("a takeover of a waypoint", () => {
  let mesh: Mesh;
  let options: ProxyOptions & { readonly gateway: string };
  let atWaypoint: Proxy;
  let load: Load;

  before(async () => {
    mesh = await startMesh();
    const [client, app, middle] = [mesh.address(), mesh.address(), mesh.address()];
    mesh.write("mesh", [
      service("app", [{ name: "http", port: 80, targetPort: HTTP, appProtocol: "http" }], {
        labels: { "istio.io/use-waypoint": "waypoint" },
      }),
      workloadEntry("app", app, { serviceAccount: "app" }),
      workloadEntry("client", client, { serviceAccount: "client" }),
      ...waypoint("waypoint", middle, { serviceAccount: "waypoint" }),
    ]);
    await startApp(mesh, app);
    options = { name: "waypoint", address: middle, gateway: "waypoint", config: CONFIG };
    atWaypoint = await mesh.waypoint(options);
    const inside = mesh.inside(client);
    await mesh.uproxy({
      name: "client",
      address: client,
      listeners: [{ listen: hostPort(inside, LISTENER), to: "app:80" }],
    });
    load = new Load({ host: inside, port: LISTENER }, CLIENTS / 2);
  });

  after(async () => {
    await load.stop();
    await mesh.stop();
  });

  test("replaced twice under load none is lost, and clients that keep connections are told to make new ones", async () => {
    await load.more(REQUESTS);
    for (let round = 0; round < 2; round += 1) {
      const old = atWaypoint;
      atWaypoint = await mesh.waypoint({ ...options, takeover: old });
      await load.more(REQUESTS);
      assert.deepEqual(
        old.log.filter(({ message, level }) => message === "session-ended" && level === "warn"),
        [],
      );
      const served = atWaypoint.log.filter(({ target }) => target === "access").length;
      assert.ok(served > 0, "the successor serves");
    }
  });

  test("a second waypoint on the same ports is refused, unless it takes over", async () => {
    const refused = await runProgram("waypoint", ["run", "--config", join(mesh.folder, "waypoint.yaml")]);
    assert.equal(refused.code, 4);
    assert.match(refused.stderr, /readiness: .*EADDRINUSE/);
  });
});
