// Hostile, rows T1, T2, P6 and P7: a member of the mesh asks a waypoint for what is not behind its Gateway, requests that come back to where
// they have been, ways around a waypoint, and policies for requests where there are none.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { startTcpApp, echo, type App } from "../support/apps.ts";
import { field } from "../support/http-message.ts";
import { HttpWire, request, verdictOf } from "../support/http-wire.ts";
import { openPeer, type Peer } from "../support/peer.ts";
import { authorizationPolicy, service, waypoint, workloadEntry } from "../support/resources.ts";
import { APP_PORT, SHOP, SHOP_VIP, startShop, type Shop } from "../support/shop.ts";
import { attempt, converse } from "../support/tcp.ts";
import { until } from "../support/until.ts";
import { startWireApp, type Script } from "../support/wire-app.ts";
import { PORTS, type Proxy } from "../support/mesh.ts";

const USE = { "istio.io/use-waypoint": "waypoint" };
const LOOP = 8040;
const SELF = 8041;
const MUTUAL = 8042;
const HTTP = (port: number, targetPort: number) => [{ name: "http", port, targetPort, appProtocol: "http" }];

describe("what a waypoint is asked for", () => {
  let shop: Shop;
  let peer: Peer;
  /** A workload of the mesh that is behind no waypoint. */
  let aside: App;
  let asideAddress: string;
  let east: Proxy;

  before(async () => {
    const again: Script = (socket, head) => {
      // A proxy of its own kind: sends what it gets back to where it came from, fields and all.
      const onward = connect({ host: shop.addresses.client, port: LOOP }, () =>
        onward.write(`${head}\r\nconnection: close\r\n\r\n`),
      );
      onward.on("error", () => socket.destroy());
      onward.on("data", (chunk) => socket.write(chunk));
      onward.on("end", () => socket.end());
      socket.on("close", () => onward.destroy());
    };
    asideAddress = "";
    shop = await startShop({
      serves: "all",
      scripts: { "/again": again },
      more: ({ waypoint: own, apps }) => {
        // The second address of the shop is not an application here: the workload `aside` and the waypoint `east` are there.
        [, asideAddress] = apps;
        return [
          service("loop", HTTP(LOOP, APP_PORT), { app: "shop", labels: USE }),
          service("aside", HTTP(80, APP_PORT)),
          workloadEntry("aside", asideAddress, { serviceAccount: "aside" }),
          // A service whose only endpoint is the waypoint that serves it.
          service("self", HTTP(SELF, APP_PORT), { labels: USE }),
          workloadEntry("self", own, { serviceAccount: "waypoint" }),
          // Two waypoints of which each has the other for its endpoint.
          ...waypoint("east", asideAddress, { serviceAccount: "east" }),
          service("to-east", HTTP(MUTUAL, MUTUAL), { labels: USE }),
          workloadEntry("to-east", asideAddress, { serviceAccount: "east" }),
          service("to-west", HTTP(MUTUAL, MUTUAL), { labels: { "istio.io/use-waypoint": "east" } }),
          workloadEntry("to-west", own, { serviceAccount: "waypoint" }),
        ];
      },
      listeners: () => ({ [LOOP]: `loop:${LOOP}`, [SELF]: `self:${SELF}`, [MUTUAL]: `to-east:${MUTUAL}` }),
    });
    aside = await shop.mesh.with(startWireApp(asideAddress, APP_PORT, "aside"));
    await shop.mesh.with(startTcpApp(shop.apps[0].address, SHOP.tcp, echo));
    east = await shop.mesh.waypoint({ name: "east", address: asideAddress, gateway: "east" });
    peer = await openPeer(shop.mesh, "peer");
  });

  after(async () => {
    assert.equal(aside.accepted, 0, "nothing that is not behind the Gateway was dialled");
    const wire = await shop.dial();
    assert.equal((await wire.get("/neighbour")).status, 200, "the neighbour is still served");
    wire.close();
    await shop.mesh.stop();
  });

  describe("T1: by the authority of a tunnel", () => {
    const targets: readonly (readonly [what: string, authority: () => string, expected: string])[] = [
      ["its service by cluster IP", () => `${SHOP_VIP}:${SHOP.http}`, "open"],
      ["its service by name", () => `SHOP.default.svc.cluster.local:${SHOP.http}`, "open"],
      ["a workload of its service", () => `${shop.apps[0].address}:${APP_PORT}`, "open"],
      ["a port that its service does not have", () => `${SHOP_VIP}:1`, "404 DESTINATION_UNKNOWN"],
      ["a service behind no waypoint", () => "aside:80", "404 DESTINATION_UNKNOWN"],
      ["a service behind another waypoint", () => `to-west:${MUTUAL}`, "404 DESTINATION_UNKNOWN"],
      ["the address of a workload behind no waypoint", () => `${asideAddress}:${APP_PORT}`, "404 DESTINATION_UNKNOWN"],
      ["the address of another waypoint", () => `${asideAddress}:${PORTS.hbone}`, "503 SELF_CALL"],
      ["the client's workload", () => `${shop.addresses.client}:${PORTS.proxy}`, "404 DESTINATION_UNKNOWN"],
      ["loopback", () => `127.0.0.1:${APP_PORT}`, "404 DESTINATION_UNKNOWN"],
      ["IPv6 loopback", () => `[::1]:${APP_PORT}`, "404 DESTINATION_UNKNOWN"],
      ["every interface", () => `0.0.0.0:${APP_PORT}`, "404 DESTINATION_UNKNOWN"],
      ["the metadata service of clouds", () => "169.254.169.254:80", "404 DESTINATION_UNKNOWN"],
      ["the metadata service by name", () => "metadata.google.internal:80", "404 DESTINATION_UNKNOWN"],
      ["a name of the world", () => "example.com:443", "404 DESTINATION_UNKNOWN"],
      ["a short name of another namespace", () => "shop.other:80", "404 DESTINATION_UNKNOWN"],
      ["its own tunnel port", () => `${shop.addresses.waypoint}:${PORTS.hbone}`, "503 SELF_CALL"],
      ["its own admin port", () => `${shop.addresses.waypoint}:${PORTS.admin}`, "503 SELF_CALL"],
      ["its own metrics", () => `${shop.addresses.waypoint}:${PORTS.metrics}`, "503 SELF_CALL"],
      ["its own readiness", () => `${shop.addresses.waypoint}:${PORTS.readiness}`, "503 SELF_CALL"],
      ["the tunnel port of its service's proxy", () => `${shop.apps[0].address}:${PORTS.hbone}`, "503 SELF_CALL"],
      [
        "an IPv4 address in IPv6 clothes",
        () => `[::ffff:${shop.apps[0].address}]:${APP_PORT}`,
        "400 AUTHORITY_MALFORMED",
      ],
      ["an octal address", () => `0177.0.0.1:${APP_PORT}`, "400 AUTHORITY_MALFORMED"],
      ["an address as one number", () => `2130706433:${APP_PORT}`, "400 AUTHORITY_MALFORMED"],
      ["a zone", () => `[fe80::1%eth0]:${APP_PORT}`, "400 AUTHORITY_MALFORMED"],
      ["no port", () => SHOP_VIP, "400 AUTHORITY_MALFORMED"],
      ["port 0", () => `${SHOP_VIP}:0`, "400 AUTHORITY_MALFORMED"],
      ["a port beyond all ports", () => `${SHOP_VIP}:65536`, "400 AUTHORITY_MALFORMED"],
    ];

    for (const [what, authority, expected] of targets) {
      test(`${what}: ${expected}`, async () => {
        const seen = shop.waypoint.log.length;
        assert.equal(await peer.ask(shop.waypoint, authority()), expected);
        if (expected === "open") return;
        const code = expected.slice(4);
        const lines = await until(`a log line with ${code}`, () => {
          const found = shop.waypoint.log.slice(seen).filter((line) => line["code"] === code);
          return found.length > 0 ? found : undefined;
        });
        assert.equal(lines.length, 1, "one line");
      });
    }

    test("ports of the proxy beside a workload are refused by that proxy", async () => {
      for (const port of [PORTS.admin, PORTS.metrics, PORTS.readiness, PORTS.proxy]) {
        const wire = new HttpWire(await peer.tunnel(shop.waypoint, `${shop.apps[0].address}:${port}`));
        const answer = await wire.get("/config_dump");
        assert.equal(verdictOf(answer), "503 PEER_UNAVAILABLE", String(port));
        wire.close();
        await shop.apps[0].proxy.access({ code: "SELF_CALL", "dst.addr": `${shop.apps[0].address}:${port}` });
      }
    });

    test("what the caller says of itself or of others changes neither target nor caller", async () => {
      const lies = {
        forwarded: `for="10.9.9.9:1";host=aside.default.svc.cluster.local`,
        baggage: "k8s.namespace.name=kube-system,service.name=root",
        "x-istio-source": "waypoint",
        "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin",
      };
      const wire = new HttpWire(await peer.tunnel(shop.waypoint, `shop:${SHOP.http}`, lies));
      const answer = await wire.get("/lies", { host: "169.254.169.254" });
      assert.equal(field(answer.head, "x-app"), "shop-1");
      assert.ok(answer.text.includes("sa/peer"), answer.text);
      assert.doesNotMatch(answer.text, /10\.9\.9\.9|kube-system|sa\/admin/);
      wire.close();
    });

    test("no target inside a request leads elsewhere", async () => {
      for (const text of [
        request("GET", "http://169.254.169.254/latest/meta-data/", { host: "169.254.169.254" }),
        request("GET", "/", { host: `${asideAddress}:${APP_PORT}` }),
        request("GET", `http://aside/`, { host: "aside" }),
      ]) {
        const wire = await shop.dial();
        assert.equal(field((await wire.ask(text)).head, "x-app"), "shop-1", text);
        wire.close();
      }
      const wire = await shop.dial();
      assert.equal(verdictOf(await wire.ask(request("CONNECT", "aside:80"))), "405 METHOD_REFUSED");
      wire.close();
    });
  });

  describe("T2: loops", () => {
    test("a request that an application sends back is refused at its first return", async () => {
      const { length } = shop.apps[0].http.heard();
      const wire = await shop.dial(LOOP);
      const answer = await wire.get("/again");
      assert.equal(verdictOf(answer), "508 LOOP_DETECTED");
      wire.close();
      const lines =
        shop.apps[0].http
          .heard()
          .slice(length)
          .match(/GET \/again /g) ?? [];
      assert.equal(lines.length, 1, "the application has seen it once");
      await shop.waypoint.access({ path: "/again", code: "LOOP_DETECTED" });
    });

    test("a waypoint is no endpoint of its own services", async () => {
      const wire = await shop.dial(SELF);
      assert.equal(verdictOf(await wire.get("/self")), "503 NO_HEALTHY_UPSTREAM");
      wire.close();
      await shop.waypoint.access({ path: "/self", code: "NO_HEALTHY_UPSTREAM" });
    });

    test("waypoints that name each other end at the first step back", async () => {
      const proxies = [shop.waypoint, east];
      const began = proxies.map(({ log }) => log.length);
      const wire = await shop.dial(MUTUAL);
      assert.equal(verdictOf(await wire.get("/mutual")), "503 PEER_NO_DESTINATION");
      wire.close();
      await shop.waypoint.access({ path: "/mutual", code: "PEER_NO_DESTINATION" });
      await east.access({ code: "DESTINATION_UNKNOWN" });
      const coded = proxies.map(({ log }, index) => log.slice(began[index]).filter(({ code }) => code !== undefined));
      assert.deepEqual(
        coded.map(({ length }) => length),
        [1, 1],
        "nobody went round again",
      );
    });

    test("a namespace whose waypoint stands in it leads nobody in circles", async () => {
      await shop.put(
        "namespace",
        [{ apiVersion: "v1", kind: "Namespace", metadata: { name: "default", labels: USE } }],
        [shop.client, shop.waypoint],
      );
      const wire = await shop.dial();
      assert.equal((await wire.get("/")).status, 200);
      wire.close();
      shop.mesh.remove("namespace");
      await shop.put("after", [], [shop.client, shop.waypoint]);
    });

    test("whoever comes with the waypoint's own identity has come back", async () => {
      const itself = await openPeer(shop.mesh, "waypoint");
      assert.equal(await itself.ask(shop.waypoint, `shop:${SHOP.http}`), "508 LOOP_DETECTED");
    });

    test("a request that says to have passed four waypoints goes no further", async () => {
      const wire = await shop.dial();
      const via = "a.x/b.y, c.x/d.y, e.x/f.y, g.x/h.y";
      assert.equal(verdictOf(await wire.get("/via", { "x-culvert-via": via })), "508 LOOP_DETECTED");
      assert.equal((await wire.get("/via", { "x-culvert-via": "a.x/b.y" })).status, 200);
      wire.close();
    });
  });

  describe("P6: ways around", () => {
    test("a workload that requires its waypoint takes nobody else, by whatever name and from whomever", async () => {
      const direct = [
        `${shop.apps[0].address}:${APP_PORT}`,
        `${shop.apps[0].address}:${SHOP.tcp}`,
        `shop:${SHOP.http}`,
        `shop.default.svc.cluster.local:${SHOP.tcp}`,
      ];
      for (const authority of direct) assert.equal(await peer.ask(shop.apps[0].proxy, authority), "open", authority);
      await shop.put(
        "require",
        [
          {
            apiVersion: "v1",
            kind: "Namespace",
            metadata: { name: "default", annotations: { "culvert.dev/require-waypoint": "true" } },
          },
        ],
        [shop.apps[0].proxy, shop.waypoint],
      );
      const other = await openPeer(shop.mesh, "east");
      for (const [who, asks] of [
        ["peer", peer],
        ["another waypoint", other],
      ] as const) {
        for (const authority of direct) {
          assert.equal(await asks.ask(shop.apps[0].proxy, authority), "401 WAYPOINT_REQUIRED", `${who}: ${authority}`);
        }
      }
      const line = await shop.apps[0].proxy.access({ code: "WAYPOINT_REQUIRED" });
      assert.equal(line["direction"], "inbound");
      const wire = await shop.dial();
      assert.equal((await wire.get("/")).status, 200, "the way through the waypoint is open");
      wire.close();
      assert.equal((await converse(shop.client.address, SHOP.tcp, "tcp")).received.toString(), "tcp");
      shop.mesh.remove("require");
      await shop.put("after", [], [shop.apps[0].proxy, shop.waypoint]);
    });
  });

  describe("P7: policies for requests where there are none", () => {
    const operations = [{ paths: ["/ok"] }, { methods: ["GET"] }, { hosts: ["shop"] }, { notPaths: ["/admin"] }];

    for (const action of ["ALLOW", "DENY"] as const) {
      test(`${action} by what only a request has refuses TCP`, async () => {
        for (const operation of operations) {
          await shop.put("policies", [
            authorizationPolicy("l7", action, { service: "shop" }, [{ to: [{ operation }] }]),
          ]);
          const sent = attempt(shop.client.address, SHOP.tcp);
          sent.send(request("GET", "/ok"));
          assert.equal(await sent.ended(), "ECONNRESET", JSON.stringify(operation));
          assert.equal(sent.received.length, 0);
          const silent = attempt(shop.client.address, SHOP.undeclared);
          silent.send("\x01\x02\x03");
          assert.equal(await silent.ended(), "ECONNRESET", `undeclared, ${JSON.stringify(operation)}`);
        }
        await shop.waypoint.access({ code: "DENIED_BY_POLICY", direction: "inbound" });
        await shop.put("policies", []);
        assert.equal((await converse(shop.client.address, SHOP.tcp, "tcp")).received.toString(), "tcp");
      });
    }
  });
});
