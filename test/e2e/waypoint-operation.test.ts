// app → uproxy → waypoint → uproxy → app: what operators see and do. Endpoints that go, a waypoint that drains, stops or is killed, numbers.
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { field } from "../support/http-message.ts";
import { request, verdictOf, type HttpWire } from "../support/http-wire.ts";
import { ask } from "../support/http.ts";
import { spiffeId } from "../support/identities.ts";
import { PORTS, type Proxy } from "../support/mesh.ts";
import { authorizationPolicy, httpRoute, service, workloadEntry, type Resource } from "../support/resources.ts";
import { APP_PORT, SHOP, startShop, version, type Shop } from "../support/shop.ts";
import { attempt } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const EXTRA = 8030;
const held: Socket[] = [];

/** Begins an answer and leaves the rest to the test. */
const half = (socket: Socket): void => {
  socket.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\nhalf");
  held.push(socket);
};

describe("operating a waypoint", () => {
  let shop: Shop;

  before(async () => {
    shop = await startShop({
      apps: 2,
      scripts: { "/half": half },
      more: () => [version("shop-v1", "v1"), version("shop-v2", "v2")],
      listeners: () => ({ [EXTRA]: "extra:80" }),
      waypoint: { config: { drain: { timeout: "10s" } } },
    });
  });

  after(() => shop.mesh.stop());

  const extra = (...workloads: readonly Resource[]): Promise<void> =>
    shop.put(
      "extra",
      [
        service("extra", [{ name: "http", port: 80, targetPort: APP_PORT, appProtocol: "http" }], {
          labels: { "istio.io/use-waypoint": "waypoint" },
        }),
        ...workloads,
      ],
      [shop.waypoint, shop.client],
    );

  describe("load", () => {
    test("three hundred requests at once take as many tunnels and sessions as they need", async () => {
      const wires = await Promise.all(Array.from({ length: 300 }, () => shop.dial()));
      for (const wire of wires) wire.send(request("GET", "/half"));
      const sockets = await until("all of them at the applications", () =>
        held.length === wires.length ? held.splice(0) : undefined,
      );
      for (const socket of sockets) socket.end("done");
      const answers = await Promise.all(wires.map((wire) => wire.answer()));
      assert.deepEqual([...new Set(answers.map(({ text }) => text))], ["halfdone"]);
      for (const wire of wires) wire.close();
      // Both applications had a fair part of them: the less busy of two is chosen each time.
      for (const { name, http } of shop.apps) {
        assert.ok(http.accepted > 120, `${name} had ${http.accepted} of ${wires.length}`);
      }
    });

    test("identities are renewed under traffic without a failed request", async () => {
      const state = { done: false, served: 0 };
      const caller = async (): Promise<void> => {
        while (!state.done) {
          const wire = await shop.dial();
          for (let i = 0; i < 5; i++) {
            assert.equal((await wire.get("/renewed")).status, 200);
            state.served += 1;
          }
          wire.close();
        }
      };
      const callers = [caller(), caller()];
      for (const account of ["waypoint", "shop-1", "client", "waypoint"]) {
        const { served } = state;
        const proxy = [shop.waypoint, shop.client, ...shop.apps.map((app) => app.proxy)].find(
          ({ name }) => name === account,
        );
        assert.ok(proxy !== undefined);
        const old = await certificates(proxy);
        await shop.mesh.issue(account);
        await until(`the new identity of ${account}`, async () => (await certificates(proxy)) !== old);
        await until("more requests", () => state.served > served + 20);
      }
      state.done = true;
      await Promise.all(callers);
    });
  });

  describe("endpoints", () => {
    test("come and go with their resources, also for a live connection; none is 503", async () => {
      const [first, second] = shop.apps.map(({ name, address }) =>
        workloadEntry(`extra-${name}`, address, { serviceAccount: name, app: "extra" }),
      );
      assert.ok(first !== undefined && second !== undefined);
      await extra(first);
      const wire = await shop.dial(EXTRA);
      for (let i = 0; i < 8; i++) assert.equal(await appOf(wire), "shop-1");
      await extra(second);
      for (let i = 0; i < 8; i++) assert.equal(await appOf(wire), "shop-2");
      await extra();
      assert.equal(verdictOf(await wire.get("/none")), "503 NO_HEALTHY_UPSTREAM");
      const line = await shop.waypoint.access({ path: "/none" });
      assert.deepEqual([line["response_flags"], line["upstream_host"]], ["UH", "-"]);
      await extra(first, second);
      assert.equal((await wire.get("/")).status, 200);
      wire.close();
      shop.mesh.remove("extra");
    });

    test("an application that is gone is passed over while another one is there, whatever the method", async () => {
      const [stays, goes] = shop.apps;
      assert.ok(goes !== undefined);
      await goes.http.stop();
      // A request may be on its way over a connection of which the end is on its way, too: that one is lost, as everywhere.
      await until("the waypoint to have none of its connections left", async () => {
        const [left, kept, all] = await Promise.all([
          tunnels(goes.proxy, "inbound"),
          tunnels(stays.proxy, "inbound"),
          tunnels(shop.waypoint, "outbound"),
        ]);
        return left === 0 && all === kept;
      });
      const wire = await shop.dial();
      for (let i = 0; i < 20; i++) {
        assert.equal(await appOf(wire), "shop-1");
        const posted = await wire.ask(`POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbody`);
        assert.equal(field(posted.head, "x-app"), "shop-1", "nothing of the request had been sent");
      }
      wire.close();
      await goes.proxy.access({ code: "APP_REFUSED" });
    });

    test("so is one whose uproxy is gone", async () => {
      await shop.apps[1]?.proxy.kill();
      const wire = await shop.dial();
      for (let i = 0; i < 20; i++) assert.equal(await appOf(wire), "shop-1");
      wire.close();
    });

    test("without another one the caller is told, and nobody waits", async () => {
      await shop.put("routes", [httpRoute("shop", "shop", [{ backendRefs: [{ name: "shop-v2", port: SHOP.http }] }])]);
      const wire = await shop.dial();
      const began = performance.now();
      assert.match(verdictOf(await wire.get("/gone")), /^503 PEER_/);
      assert.ok(performance.now() - began < 2_000);
      wire.close();
      const line = await shop.waypoint.access({ path: "/gone" });
      assert.equal(line["upstream_host"], hostPort(shop.addresses.apps[1], APP_PORT));
      await shop.put("routes", []);
    });
  });

  describe("numbers", () => {
    test("requests are counted as Istio counts them, in both expositions", async () => {
      await shop.put("policies", [
        authorizationPolicy("no-delete", "DENY", { service: "shop" }, [
          { to: [{ operation: { methods: ["DELETE"] } }] },
        ]),
      ]);
      const served = { response_code: "200", destination_workload: "shop-1" };
      const refused = { response_code: "403", response_flags: "DENY" };
      const [servedBefore, refusedBefore] = [await count(shop, served), await count(shop, refused)];
      const wire = await shop.dial();
      for (let i = 0; i < 5; i++) assert.equal((await wire.get("/")).status, 200);
      for (let i = 0; i < 3; i++) assert.equal((await wire.ask(request("DELETE", "/"))).status, 403);
      wire.close();
      assert.equal((await count(shop, served)) - servedBefore, 5);
      assert.equal((await count(shop, refused)) - refusedBefore, 3);
      const [line = ""] = await series(shop.waypoint, "istio_requests_total", served);
      for (const [name, value] of Object.entries({
        reporter: "waypoint",
        source_principal: spiffeId("client"),
        destination_workload_namespace: "default",
        destination_principal: spiffeId("shop-1"),
        destination_service: "shop.default.svc.cluster.local",
        destination_service_name: "shop",
        destination_service_namespace: "default",
        request_protocol: "http",
        response_flags: "-",
        connection_security_policy: "mutual_tls",
      })) {
        assert.ok(line.includes(`${name}="${value}"`), `${name}="${value}" in ${line}`);
      }
      for (const name of ["istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"]) {
        assert.ok((await series(shop.waypoint, `${name}_count`, served)).length > 0, name);
        assert.ok((await series(shop.waypoint, `${name}_bucket`, { ...served, le: "+Inf" })).length > 0, name);
      }
      const [failures = ""] = await series(shop.waypoint, "culvert_failures_total", { code: "DENIED_BY_POLICY" });
      assert.ok(Number(failures.split(" ").at(-1)) >= 3, failures);
      const otel = await exposition(shop.waypoint, "/metrics/otel");
      const told = otel
        .split("\n")
        .filter((each) => each.startsWith("istio_requests_total{") && each.includes('response_code="403"'));
      assert.ok(
        told.some((each) => Number(each.split(" ")[1]) === refusedBefore + 3),
        told.join("\n"),
      );
      assert.match(otel, /^istio_request_duration_milliseconds_bucket\{/m);
      await shop.put("policies", []);
    });
  });

  describe("the end", () => {
    test("SIGTERM lets the request in flight finish, and tells clients to close", async () => {
      const idle = await shop.dial();
      assert.equal((await idle.get("/")).status, 200);
      const { wire, socket } = await halfAnswered(shop);
      const late = await shop.dial();
      late.send(request("POST", "/late", { "content-length": "4" }));
      await until("the late request at the waypoint", async () => (await openTunnels(shop)) >= 3);
      shop.waypoint.program.signal("SIGTERM");
      const notReady = `http://${hostPort(shop.waypoint.address, PORTS.readiness)}/healthz/ready`;
      await until("readiness off", async () => (await ask(notReady)).status === 503);
      assert.equal(await idle.ended(), "end", "nothing was asked on it");
      idle.close();
      late.send("body");
      const answer = await late.answer();
      assert.deepEqual([answer.status, field(answer.head, "connection")], [200, "close"]);
      assert.equal(await late.ended(), "end");
      late.close();
      assert.equal(shop.waypoint.program.exit, undefined, "one request is still in flight");
      socket.end("done");
      assert.equal((await wire.answer()).text, "halfdone");
      assert.equal(await wire.ended(), "end");
      wire.close();
      const exit = await shop.waypoint.program.exited;
      assert.deepEqual([exit.code, exit.signal], [0, null]);
    });

    test("without its waypoint the service is not reachable, and nothing goes around", async () => {
      const { accepted } = shop.apps[0].http;
      for (const port of [SHOP.http, SHOP.tcp]) {
        assert.equal(await attempt(shop.client.inside, port).ended(), "ECONNRESET");
      }
      const line = await shop.client.access({ direction: "outbound", code: "PEER_REFUSED" });
      assert.equal(line["dst.service"], "shop.default.svc.cluster.local");
      assert.equal(shop.apps[0].http.accepted, accepted);
      const callers = shop.apps[0].proxy.log.filter(({ direction }) => direction === "inbound");
      assert.deepEqual([...new Set(callers.map((each) => each["src.identity"]))], [spiffeId("waypoint")]);
    });

    test("one that comes back serves again; one that is killed in the middle of an answer never makes it look whole", async () => {
      const again = await shop.mesh.waypoint({ name: "waypoint", address: shop.waypoint.address, gateway: "waypoint" });
      await until("an answer", async () => {
        const wire = await shop.dial();
        const { status } = await wire.get("/");
        wire.close();
        return status === 200;
      });
      const { wire } = await halfAnswered(shop);
      await again.kill();
      assert.equal(await wire.ended(), "ECONNRESET");
      wire.close();
      for (const socket of held.splice(0)) socket.destroy();
    });
  });
});

async function appOf(wire: HttpWire): Promise<string | undefined> {
  return field((await wire.get("/")).head, "x-app");
}

async function series(proxy: Proxy, name: string, labels: Readonly<Record<string, string>>): Promise<string[]> {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  const text = await exposition(proxy, "/metrics");
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
  return lines.filter((line) => wanted.every((each) => line.includes(each)));
}

async function sum(proxy: Proxy, name: string, labels: Readonly<Record<string, string>>): Promise<number> {
  const lines = await series(proxy, name, labels);
  return lines.reduce((total, line) => total + Number(line.split(" ").at(-1)), 0);
}

function count({ waypoint }: Shop, labels: Readonly<Record<string, string>>): Promise<number> {
  return sum(waypoint, "istio_requests_total", labels);
}

function tunnels(proxy: Proxy, direction: "inbound" | "outbound"): Promise<number> {
  return sum(proxy, "culvert_tunnels_open", { direction });
}

async function exposition({ address }: Proxy, path: string): Promise<string> {
  const { status, body } = await ask(`http://${hostPort(address, PORTS.metrics)}${path}`);
  assert.equal(status, 200, path);
  return body;
}

/** A request of which one half of the answer has come, and the application's side of it. */
async function halfAnswered(shop: Shop): Promise<{ wire: HttpWire; socket: Socket }> {
  const wire = await shop.dial();
  wire.send(request("GET", "/half"));
  await until("the begin of the answer", () => wire.unread.includes("half"));
  return { wire, socket: await until("the application's side", () => held.shift()) };
}

async function certificates({ admin }: Proxy): Promise<string> {
  return (await ask(`http://${admin}/certificates`)).body;
}

async function openTunnels({ waypoint }: Shop): Promise<number> {
  const { body } = await ask(`http://${waypoint.admin}/connections`);
  return (JSON.parse(body) as { open: number }).open;
}
