// app → uproxy → one of two waypoints that share the traffic by weight → uproxy → app.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startHttpApp } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { service, waypoint, workloadEntry, type Resource } from "../support/resources.ts";
import { attempt } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const APP = 8080;
const TO_SHOP = 9001;
const CONNECTIONS = 60;

function requests(proxy: Proxy): number {
  return proxy.log.filter(({ target, path }) => target === "access" && path === "/").length;
}

describe("waypoints that share traffic", () => {
  let mesh: Mesh;
  let client: Proxy;
  let shop: Proxy;
  let main: Proxy;
  let canary: Proxy;
  let addresses: Readonly<Record<"client" | "shop" | "main" | "canary", string>>;

  const resources = (weights: string): Resource[] => [
    service("shop", [{ name: "http", port: 80, targetPort: APP, appProtocol: "http" }], {
      labels: { "istio.io/use-waypoint": "main" },
      annotations: { "culvert.dev/require-waypoint": "true" },
    }),
    workloadEntry("client", addresses.client, { serviceAccount: "client" }),
    workloadEntry("shop", addresses.shop, { serviceAccount: "shop" }),
    ...waypoint("main", addresses.main, {
      serviceAccount: "main",
      annotations: { "culvert.dev/waypoint-weights": weights },
    }),
    ...waypoint("canary", addresses.canary, { serviceAccount: "canary" }),
  ];

  before(async () => {
    mesh = await startMesh();
    addresses = { client: mesh.address(), shop: mesh.address(), main: mesh.address(), canary: mesh.address() };
    mesh.write("mesh", resources("main=1,canary=1"));
    await mesh.with(startHttpApp(addresses.shop, APP, "shop"));
    [shop, main, canary, client] = await Promise.all([
      mesh.uproxy({ name: "shop", address: addresses.shop }),
      mesh.waypoint({ name: "main", address: addresses.main, gateway: "main" }),
      mesh.waypoint({ name: "canary", address: addresses.canary, gateway: "canary" }),
      mesh.uproxy({
        name: "client",
        address: addresses.client,
        listeners: [{ listen: `${addresses.client}:${TO_SHOP}`, to: "shop:80" }],
      }),
    ]);
  });

  after(() => mesh.stop());

  async function get(): Promise<number> {
    const { status } = await ask(`http://${client.address}:${TO_SHOP}/`, { headers: { connection: "close" } });
    return status;
  }

  test("each connection goes to one of them, and the workload takes both for its waypoint", async () => {
    for (let count = 0; count < CONNECTIONS; count += 1) assert.equal(await get(), 200);
    await until("a line for each request", () => requests(main) + requests(canary) === CONNECTIONS);
    // With even weights the chance that one of them gets fewer than ten of sixty is below one in ten million.
    assert.ok(Math.min(requests(main), requests(canary)) >= 10, `${requests(main)} and ${requests(canary)}`);
  });

  test("all weight on one: a change of the annotation decides the next connection", async () => {
    mesh.write("mesh", resources("main=0,canary=1"));
    await until("the new weights", async () => {
      const { body } = await ask(`http://${client.address}:${PORTS.admin}/config_dump`);
      return body.replaceAll(/\s/g, "").includes('"weights":{"main":0,"canary":1}');
    });
    const already = requests(main);
    for (let count = 0; count < 10; count += 1) assert.equal(await get(), 200);
    assert.equal(requests(main), already);
  });

  test("one that was chosen and does not answer fails the connection: nothing goes around it", async () => {
    const served = shop.log.length;
    await canary.kill();
    assert.equal(await attempt(client.address, TO_SHOP).ended(), "ECONNRESET");
    await client.access({ code: "PEER_REFUSED", "dst.hbone_addr": `${addresses.canary}:${PORTS.hbone}` });
    assert.deepEqual(
      shop.log.slice(served).filter(({ direction, error }) => direction === "inbound" && error === undefined),
      [],
    );
  });
});
