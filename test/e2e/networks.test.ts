// app → uproxy → gateway of another network → uproxy → app: a session inside a tunnel, which the gateway carries and does not see. The
// gateway is one of the test's own, and Envoy; behind it are several workloads, of which it chooses one for each session.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { openFilesSource } from "@culvert/shared/identity/sources/files.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { startEnvoy, tunnelServer } from "../support/envoy.ts";
import { startGateway } from "../support/gateway.ts";
import { spiffeId } from "../support/identities.ts";
import { must } from "../support/must.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { openPeer } from "../support/peer.ts";
import { authorizationPolicy, service, workloadEntry, type Resource } from "../support/resources.ts";
import { attempt, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const ECHO = 7001;
const TO_APP = 9001;
const APPS = ["app-1", "app-2", "app-3"];
const AUTHORITY = `app.default.svc.cluster.local:${ECHO}`;
const inNetwork = (network: string): { labels: Record<string, string> } => ({
  labels: { "topology.istio.io/network": network },
});

for (const kind of ["our own", "Envoy"] as const) {
  describe(`two networks, the gateway is ${kind}`, needs({ commands: kind === "Envoy" ? ["envoy"] : [] }), () => {
    let mesh: Mesh;
    let client: Proxy;
    const apps: Proxy[] = [];
    let gatewayAddress: string;
    /** Where the client has its listener. */
    let inside: string;
    /** Outer sessions so far, and authorities asked for; of Envoy nobody knows. */
    let gateway: { readonly sessions: number; readonly asked: readonly string[] } | undefined;

    before(async () => {
      mesh = await startMesh();
      const clientAddress = mesh.address();
      inside = mesh.inside(clientAddress);
      const places = APPS.map((name) => ({ name, host: mesh.address() }));
      gatewayAddress = mesh.address();
      const eastWest: Resource = {
        apiVersion: "gateway.networking.k8s.io/v1",
        kind: "Gateway",
        metadata: { name: "east-west", namespace: "default", ...inNetwork("two") },
        spec: {
          gatewayClassName: "istio-east-west",
          listeners: [{ name: "mesh", port: PORTS.hbone, protocol: "HBONE" }],
        },
      };
      mesh.write("mesh", [
        service("app", [{ name: "tcp-echo", port: ECHO }]),
        ...places.map(({ name, host }) =>
          workloadEntry(name, host, { app: "app", serviceAccount: "app", ...inNetwork("two") }),
        ),
        workloadEntry("client", clientAddress, { serviceAccount: "client", ...inNetwork("one") }),
        eastWest,
        workloadEntry("east-west-1", gatewayAddress, {
          serviceAccount: "east-west",
          labels: { "gateway.networking.k8s.io/gateway-name": "east-west" },
        }),
      ]);
      const behind = places.map(({ host }) => ({ host, port: PORTS.hbone }));
      if (kind === "Envoy") await startEnvoyGateway(behind);
      else await startOwnGateway(behind);
      for (const { host } of places) await mesh.with(startTcpApp(host, ECHO, echo));
      // One after the other: they share the files of an identity.
      for (const { name, host } of places) apps.push(await mesh.uproxy({ name, account: "app", address: host }));
      client = await mesh.uproxy({
        name: "client",
        address: clientAddress,
        listeners: [{ listen: hostPort(inside, TO_APP), to: `app:${ECHO}` }],
      });
    });

    after(() => mesh.stop());

    async function startOwnGateway(behind: readonly { host: string; port: number }[]): Promise<void> {
      const { folder } = await mesh.issue("east-west");
      const identity = must(await openFilesSource({ location: folder, clock: systemClock, onEvent: () => {} }));
      const started = await startGateway(gatewayAddress, PORTS.hbone, identity, { [AUTHORITY]: behind });
      gateway = started;
      mesh.atEnd(async () => {
        started.server.close();
        identity.close();
      });
    }

    async function startEnvoyGateway(behind: readonly { host: string; port: number }[]): Promise<void> {
      const identity = await mesh.issue("east-west");
      const listen = { host: gatewayAddress, port: PORTS.hbone };
      const targets = [{ authority: AUTHORITY, apps: behind }];
      const parts = [tunnelServer({ identity, trustDomain: "cluster.local", listen, targets })];
      await mesh.with(startEnvoy({ name: "gateway", folder: mesh.folder, parts, ready: listen }));
    }

    async function talk(text: string): Promise<void> {
      const connection = await dial(inside, TO_APP);
      connection.finish(text);
      assert.equal(await connection.ended(), "end");
      assert.equal(connection.received.toString(), text);
    }

    const handshakes = (): number =>
      apps.flatMap(({ log }) => log).filter(({ message }) => message === "session-opened").length;
    const reached = (): readonly Proxy[] =>
      apps.filter(({ log }) => log.some((line) => line["direction"] === "inbound" && line["target"] === "access"));

    test("a connection reaches an app, which sees the client's own identity and name, with half-close", async () => {
      await talk("hello");
      if (gateway !== undefined) assert.deepEqual(gateway.asked, [AUTHORITY]);
      const [app] = await until("the line", () => (reached().length > 0 ? reached() : undefined));
      const line = await must(app).access({ direction: "inbound", "src.identity": spiffeId("client") });
      // Its address is the gateway's; who it is, it says itself, and has proved.
      assert.match(String(line["src.addr"]), /./);
      assert.equal(line["src.workload"], "client");
      assert.equal(line["dst.service"], "app.default.svc.cluster.local");
      await client.access({
        "dst.service": "app.default.svc.cluster.local",
        "dst.hbone_addr": hostPort(gatewayAddress, PORTS.hbone),
        "dst.identity": spiffeId("app"),
      });
    });

    test("connections are spread over all workloads behind the gateway", async () => {
      await until("each of them", async () => {
        await talk("more");
        return reached().length === APPS.length;
      });
    });

    test("the connections after it take no handshake, neither to the gateway nor behind it", async () => {
      const counts = [gateway?.sessions, handshakes(), gateway?.asked.length];
      for (let count = 0; count < 9; count += 1) await talk(`again ${count}`);
      assert.deepEqual([gateway?.sessions, handshakes(), gateway?.asked.length], counts);
      assert.equal(handshakes(), APPS.length);
    });

    test("who says to come from another network is not believed to be somebody else", async () => {
      const app = must(apps[0]);
      const stranger = await openPeer(mesh, "stranger");
      const headers = { "x-forwarded-network": "one", baggage: "k8s.namespace.name=default,k8s.pod.name=client" };
      const tunnel = await stranger.tunnel(app, hostPort(app.address, ECHO), headers, "app");
      tunnel.on("error", () => {}).resume();
      tunnel.end();
      const line = await app.access({ direction: "inbound", "src.identity": spiffeId("stranger") });
      assert.equal(line["src.workload"], undefined);
    });

    test("a workload behind the gateway that dies takes none of the later connections with it", async () => {
      await must(apps[1]).kill();
      // A connection of this very moment could still be sent to it.
      await client.logged({ message: "session-ended" });
      for (let count = 0; count < 9; count += 1) await talk(`left ${count}`);
    });

    test("the workloads behind the gateway decide by the client's identity", async () => {
      mesh.write("policy", [
        authorizationPolicy("deny", "DENY", { app: "app" }, [
          { from: [{ source: { principals: ["cluster.local/ns/default/sa/client"] } }] },
        ]),
      ]);
      const [first, , third] = apps;
      for (const app of [first, third]) await must(app).logged({ message: "resources in use", version: 2 });
      assert.equal(await attempt(inside, TO_APP).ended(), "ECONNRESET");
      await client.access({ direction: "outbound", code: "PEER_DENIED" });
    });
  });
}
