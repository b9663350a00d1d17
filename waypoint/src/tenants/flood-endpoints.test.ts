// One tenant's endpoints hang, or do not answer: what is left of dials and connections serves another one at once.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type ClientHttp2Session } from "node:http2";
import type { ServerResponse } from "node:http";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import { id, TRUST_DOMAIN } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { until } from "@culvert/test/support/until.ts";
import { DEFAULT_HTTP_LIMITS } from "../http/limits.ts";
import { ask, type Outcome } from "../http2-fixtures.ts";
import { service, servicePort, workload } from "../mesh-fixtures.ts";
import { Bench, httpApp } from "../waypoint-fixtures.ts";
import { UNCOUNTED } from "./crowd.ts";
import type { Tenant } from "./tenants.ts";

const { maxDials } = DEFAULT_TUNNEL_LIMITS;
/** Requests of one client session. */
const PER_SESSION = 250;
/** What one tenant alone may have in flight at an application of HTTP/1.1. */
const AT_ONE = UNCOUNTED + (DEFAULT_HTTP_LIMITS.upstreamPerEndpoint - UNCOUNTED) / 2;

describe("endpoints of one tenant", () => {
  const bench = new Bench();
  const clients: ClientHttp2Session[] = [];
  const silent: Socket[] = [];
  const held: ServerResponse[] = [];
  let areSilent = true;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    if (areSilent) silent.push(socket.resume());
    else socket.destroy();
  }).listen(0, "127.0.0.1");

  const tenant = (name: string): Tenant => bench.tenants.of(id(`${name}/curl`), TRUST_DOMAIN);

  async function client(authority: string, account: string): Promise<ClientHttp2Session> {
    const connection = must(await bench.open(authority, account));
    const session = connect(`http://${authority}`, { createConnection: () => connection });
    session.on("error", () => {});
    clients.push(session);
    return session;
  }

  /** Begins so many requests of the tenant that floods. */
  async function flood(authority: string, path: string, count: number): Promise<Promise<Outcome>[]> {
    const asked: Promise<Outcome>[] = [];
    while (asked.length < count) {
      const session = await client(authority, "noisy/curl");
      for (let i = 0; i < PER_SESSION && asked.length < count; i += 1) asked.push(ask(session, { ":path": path }));
    }
    return asked;
  }

  async function serveQuiet(authority: string, path = "/"): Promise<void> {
    const session = await client(authority, "quiet/curl");
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => ask(session, { ":path": path })));
    assert.deepEqual(new Set(outcomes.map(({ status }) => status)), new Set([200]));
    assert.deepEqual(tenant("quiet").refused, { requests: 0, bodies: 0, copies: 0, connections: 0 });
  }

  before(async () => {
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const labels = new Map([["app", "hang"]]);
    const hanging = (_: unknown, index: number): Workload =>
      workload(`default/hang${index}-1`, "127.0.0.1", { hbonePort: port, labels });
    const app = httpApp((request, response) => {
      if (request.url === "/hold") held.push(response);
      else response.end("ok");
    });
    await bench.use({
      services: ["app", "hang", "cold"].map((name) =>
        service(`default/${name}`, { ports: [servicePort({ port: 9080, targetPort: 9080 })] }),
      ),
      workloads: [
        await bench.app("app-1", app),
        await bench.app("cold-1", app),
        ...Array.from({ length: 2 * maxDials }, hanging),
      ],
    });
    await bench.start();
  });
  after(async () => {
    for (const session of clients) session.destroy();
    for (const socket of silent) socket.destroy();
    server.close();
    await bench.stop();
  });

  test("dials that hang: half of the places for one, and who needs a new connection has it", async () => {
    const asked = await flood("hang.default:9080", "/", 4 * maxDials);
    await until("the dials", () => silent.length >= maxDials / 2 && tenant("noisy").waiting > maxDials);
    await serveQuiet("cold.default:9080");
    assert.equal(silent.length, maxDials / 2);
    assert.equal(tenant("noisy").dials, maxDials / 2);
    areSilent = false;
    for (const socket of silent) socket.destroy();
    for (const session of clients.splice(0)) session.destroy();
    await Promise.all(asked);
    await until("the others to have come and gone", () => tenant("noisy").isIdle);
  });

  test("an application that does not answer one tenant has connections left for another", async (context) => {
    const outcomes = await flood("app.default:9080", "/hold", AT_ONE + 50);
    await until("all that may", () => held.length === AT_ONE && tenant("noisy").refused.connections >= 50);
    await serveQuiet("app.default:9080");
    for (const response of held) response.end("ok");
    const statuses = (await Promise.all(outcomes)).map(({ status }) => status);
    assert.equal(statuses.filter((status) => status === 200).length, AT_ONE);
    assert.equal(statuses.filter((status) => status === 429).length, 50);
    context.diagnostic(`in flight for one tenant at one application: ${AT_ONE}`);
    await serveQuiet("app.default:9080", "/?again");
  });
});
