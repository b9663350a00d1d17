// Two namespaces behind one waypoint, with real programs: whatever the one does, every request of the other is answered, and log and
// metrics name the one that was refused.
import assert from "node:assert/strict";
import { Agent, request } from "node:http";
import type { Socket } from "node:net";
import { after, afterEach, before, describe, test } from "node:test";
import { ask } from "../support/http.ts";
import { spiffeId } from "../support/identities.ts";
import type { Proxy } from "../support/mesh.ts";
import type { Resource } from "../support/resources.ts";
import { dial, type Connection } from "../support/tcp.ts";
import { startTenants, TENANT_PORTS, type TwoTenants } from "../support/two-tenants.ts";
import { until } from "../support/until.ts";

const LIMITS = { requests: 240, heldBytes: "1MiB" };
const MAX_DIALS = 16;
/** What one tenant alone gets. */
const REQUESTS = LIMITS.requests / 2;
const DIALS = MAX_DIALS / 2;
const HELD_BYTES = 512 * 1024;
/** The other tenant's requests: so many, so many at once. */
const SERVED = 200;
const AT_ONCE = 10;
const KIB = 1024;

/** What became of one request of the tenant that floods; 0: it was cut off. */
type Asked = Promise<number>;

describe("two namespaces behind one waypoint", () => {
  let tenants: TwoTenants;
  /** Of the tenant that floods: ended by a reset, since a client that has only ended its half still waits for its answer. */
  const sockets = new Set<Socket>();
  const connections: Connection[] = [];

  /** Begins requests of a client, each over a connection of its own unless an agent is given. */
  function begin(
    client: Proxy,
    to: keyof typeof TENANT_PORTS,
    path: string,
    { body, agent }: { readonly body?: Buffer; readonly agent?: Agent } = {},
  ): Asked {
    return new Promise((resolve) => {
      const options = {
        host: client.address,
        port: TENANT_PORTS[to],
        path,
        method: body === undefined ? "GET" : "POST",
      };
      const asked = request({ ...options, ...(agent === undefined ? {} : { agent }) }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode ?? 0));
        response.on("error", () => resolve(0));
      });
      asked.on("error", () => resolve(0));
      asked.on("socket", (socket) => {
        if (client === tenants.noisy) sockets.add(socket);
      });
      asked.end(body);
    });
  }

  /** The other tenant's load: always the same number of requests, of which every one must be answered. */
  async function serveQuiet(to: "app" | "cold" = "app"): Promise<number> {
    const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
    const statuses = await Promise.all(Array.from({ length: SERVED }, () => begin(tenants.quiet, to, "/", { agent })));
    agent.destroy();
    return statuses.filter((status) => status === 200).length;
  }

  const flood = (to: keyof typeof TENANT_PORTS, path: string, count: number, body?: Buffer): Asked[] => {
    const agent = new Agent();
    return Array.from({ length: count }, () => begin(tenants.noisy, to, path, { agent, ...(body && { body }) }));
  };
  const ofTenant = (name: string, more = "", tenant = "noisy"): Promise<number> =>
    tenants.metric(`culvert_tenant_${name}{tenant="${tenant}"${more}}`);
  const refused = (what: string, tenant?: string): Promise<number> =>
    ofTenant("refused_total", `,what="${what}"`, tenant);

  /** Slow readers, each with an answer before it that it does not read. */
  async function readNothing(count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      const connection = await dial(tenants.noisy.address, TENANT_PORTS.app);
      connections.push(connection);
      connection.send("GET /pour HTTP/1.1\r\nhost: app\r\n\r\n");
      await connection.bytes(1);
      connection.socket.pause();
    }
  }

  /** Connections that come and go, until told to stop; answers how many there were. */
  function churn(): () => Promise<number> {
    const going = { stopped: false, count: 0 };
    const turns = Array.from({ length: 4 }, async () => {
      while (!going.stopped) {
        const connection = await dial(tenants.noisy.address, TENANT_PORTS.app);
        connection.send("GET / HTTP/1.1\r\nhost: a");
        connection.reset();
        going.count += 1;
        // A round trip, so that it is no contest for this process.
        await begin(tenants.noisy, "gone", "/");
      }
    });
    return async () => {
      going.stopped = true;
      await Promise.all(turns);
      return going.count;
    };
  }

  before(async () => {
    tenants = await startTenants(
      { tenants: LIMITS, limits: { maxDials: MAX_DIALS, connectTimeout: "2s", handshakeTimeout: "2s" } },
      3 * MAX_DIALS,
    );
  });
  after(() => tenants.mesh.stop());
  afterEach(async () => {
    tenants.letGo();
    // One that is ending by itself cannot be reset: the runtime would lose its descriptor.
    for (const socket of sockets) if (!socket.writableEnded) socket.resetAndDestroy();
    sockets.clear();
    for (const connection of connections.splice(0)) connection.reset();
    await until("nothing to be in flight", async () => (await ofTenant("requests")) === 0);
    // What is none of the other tenant's doing is none of its refusals, whatever has been.
    for (const what of ["requests", "bodies", "copies", "connections"]) assert.equal(await refused(what, "quiet"), 0);
  });

  test("alone: what the other tenant gets on a quiet day", async () => {
    assert.equal(await serveQuiet(), SERVED);
  });

  test("requests in flight", async () => {
    const asked = flood("app", "/hold", REQUESTS + 20);
    await until("all that may", async () => tenants.held.size === REQUESTS && (await refused("requests")) === 20);
    assert.equal(await serveQuiet(), SERVED);
    assert.equal(await ofTenant("requests"), REQUESTS);
    const identity = spiffeId("noisy", "noisy");
    await tenants.waypoint.access({ code: "TENANT_OVER_SHARE", response_code: 429, "src.identity": identity });
    tenants.letGo();
    const statuses = await Promise.all(asked);
    assert.equal(statuses.filter((status) => status === 200).length, REQUESTS);
    assert.equal(statuses.filter((status) => status === 429).length, 20);
  });

  test("endpoints that hang while they are dialled, and one that has to be dialled beside them", async () => {
    void Promise.all(flood("hang", "/", REQUESTS));
    await until("the dials", async () => (await ofTenant("dials")) === DIALS);
    const failed = await tenants.metric("culvert_pool_dials");
    assert.equal(await serveQuiet("cold"), SERVED);
    assert.ok(failed <= DIALS, `${failed} dials`);
    assert.equal(await ofTenant("dials"), DIALS);
  });

  test("bodies that are kept to be sent again", async () => {
    const retry = { codes: [503], attempts: 1 };
    tenants.mesh.write("routes", [route("default", [{ retry, backendRefs: [{ name: "app", port: 80 }] }])]);
    await inUse("default/flood");
    const asked = flood("app", "/hold", 20, Buffer.alloc(60 * KIB));
    await until("all bodies", () => tenants.held.size === 20);
    assert.ok((await ofTenant("held_bytes")) <= HELD_BYTES);
    assert.ok((await refused("bodies")) >= 8, `${await refused("bodies")} bodies were not kept`);
    assert.equal(await serveQuiet(), SERVED);
    tenants.letGo();
    assert.deepEqual(new Set(await Promise.all(asked)), new Set([200]));
  });

  test("slow readers, connections that come and go, and endpoints that are gone", async () => {
    await readNothing(10);
    const stop = churn();
    assert.equal(await serveQuiet(), SERVED);
    // Its first dials may wait for those to the endpoints that hang, which are its own as well.
    await until("a dial to be refused", async () => {
      return (await tenants.metric('culvert_failures_total{code="PEER_REFUSED"}')) > 0;
    });
    assert.ok((await stop()) > 0);
  });

  test("filters of its own routes that are slow, and rules that cannot be understood", async () => {
    tenants.mesh.write("routes", [
      route("noisy", [filtered("/slow", "slow"), filtered("/broken", "missing")]),
      {
        apiVersion: "culvert.dev/v1alpha1",
        kind: "HTTPFilter",
        metadata: { name: "slow", namespace: "noisy" },
        spec: { fault: { delay: { duration: "60s", percent: 100 }, abort: { status: 503, percent: 100 } } },
      },
    ]);
    await inUse("noisy/flood");
    void Promise.all(flood("app", "/slow", REQUESTS - 1));
    await until("the slow requests", async () => (await ofTenant("requests")) === REQUESTS - 1);
    assert.equal(await begin(tenants.noisy, "app", "/broken"), 500);
    assert.equal(await serveQuiet(), SERVED);
    assert.equal(await ofTenant("requests"), REQUESTS - 1);
  });

  test("everything at once", async () => {
    tenants.mesh.write("routes", []);
    await until("the routes to be gone", async () => !(await dump()).includes("noisy/flood"));
    await readNothing(5);
    void Promise.all(flood("hang", "/", REQUESTS / 3));
    const stop = churn();
    void Promise.all(flood("app", "/hold", REQUESTS, Buffer.alloc(60 * KIB)));
    await until("the share to be full", async () => (await refused("requests")) > 20);
    assert.equal(await serveQuiet(), SERVED);
    assert.equal(await serveQuiet("cold"), SERVED);
    await stop();
  });

  async function dump(): Promise<string> {
    return (await ask(`http://${tenants.waypoint.admin}/config_dump`)).body;
  }

  function inUse(uid: string): Promise<unknown> {
    return until(`${uid} in use`, async () => (await dump()).includes(uid));
  }
});

/** A rule whose requests have a filter. */
function filtered(path: string, name: string): object {
  const filter = { type: "ExtensionRef", extensionRef: { group: "culvert.dev", kind: "HTTPFilter", name } };
  return { matches: [{ path: { type: "PathPrefix", value: path } }], filters: [filter] };
}

/** `flood`, a route of a namespace for the application. */
function route(namespace: string, rules: readonly object[]): Resource {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    metadata: { name: "flood", namespace },
    spec: { parentRefs: [{ group: "", kind: "Service", name: "app", namespace: "default" }], rules },
  };
}
