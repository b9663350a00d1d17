// app → uproxy → gateway of another network → uproxy → app: a session inside a tunnel, which the gateway carries and does not see.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { openFilesSource } from "@culvert/shared/identity/sources/files.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { must } from "../support/must.ts";
import { PORTS, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { authorizationPolicy, service, workloadEntry, type Resource } from "../support/resources.ts";
import { attempt, dial } from "../support/tcp.ts";

const ECHO = 7001;
const TO_APP = 9001;
const AUTHORITY = `app.default.svc.cluster.local:${ECHO}`;
const inNetwork = (network: string): { labels: Record<string, string> } => ({
  labels: { "topology.istio.io/network": network },
});

describe("two networks", () => {
  let mesh: Mesh;
  let client: Proxy;
  let app: Proxy;
  let gateway: TestGateway;
  let address: Readonly<Record<"client" | "app" | "gateway", string>>;
  /** Where the client has its listener. */
  let inside: string;

  before(async () => {
    mesh = await startMesh();
    address = { client: mesh.address(), app: mesh.address(), gateway: mesh.address() };
    inside = mesh.inside(address.client);
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
      workloadEntry("app", address.app, { serviceAccount: "app", ...inNetwork("two") }),
      workloadEntry("client", address.client, { serviceAccount: "client", ...inNetwork("one") }),
      eastWest,
      workloadEntry("east-west-1", address.gateway, {
        serviceAccount: "east-west",
        labels: { "gateway.networking.k8s.io/gateway-name": "east-west" },
      }),
    ]);
    const { folder } = await mesh.issue("east-west");
    const identity = must(await openFilesSource({ location: folder, clock: systemClock, onEvent: () => {} }));
    gateway = await startGateway(address.gateway, PORTS.hbone, identity, {
      [AUTHORITY]: { host: address.app, port: PORTS.hbone },
    });
    mesh.atEnd(async () => {
      await gateway.server.close();
      identity.close();
    });
    await mesh.with(startTcpApp(address.app, ECHO, echo));
    app = await mesh.uproxy({ name: "app", address: address.app });
    client = await mesh.uproxy({
      name: "client",
      address: address.client,
      listeners: [{ listen: hostPort(inside, TO_APP), to: `app:${ECHO}` }],
    });
  });

  after(() => mesh.stop());

  async function talk(text: string): Promise<void> {
    const connection = await dial(inside, TO_APP);
    connection.finish(text);
    assert.equal(await connection.ended(), "end");
    assert.equal(connection.received.toString(), text);
  }

  const handshakes = (): number => app.log.filter(({ message }) => message === "session-opened").length;

  test("a connection reaches the app, which sees the client's own identity, with half-close", async () => {
    await talk("hello");
    assert.deepEqual(gateway.asked, [AUTHORITY]);
    const line = await app.access({
      direction: "inbound",
      "src.identity": "spiffe://cluster.local/ns/default/sa/client",
    });
    assert.equal(line["dst.service"], "app.default.svc.cluster.local");
    await client.access({
      "dst.service": "app.default.svc.cluster.local",
      "dst.hbone_addr": hostPort(address.gateway, PORTS.hbone),
      "dst.identity": "spiffe://cluster.local/ns/default/sa/app",
    });
  });

  test("the connections after it take no handshake, neither to the gateway nor behind it", async () => {
    await talk("first");
    const [outer, inner, asked] = [gateway.sessions, handshakes(), gateway.asked.length];
    for (let count = 0; count < 5; count += 1) await talk(`again ${count}`);
    assert.deepEqual([gateway.sessions, handshakes(), gateway.asked.length], [outer, inner, asked]);
  });

  test("the workload behind the gateway decides by the client's identity", async () => {
    mesh.write("policy", [
      authorizationPolicy("deny", "DENY", { app: "app" }, [
        { from: [{ source: { principals: ["cluster.local/ns/default/sa/client"] } }] },
      ]),
    ]);
    await app.logged({ message: "resources in use", version: 2 });
    assert.equal(await attempt(inside, TO_APP).ended(), "ECONNRESET");
    await app.access({ direction: "inbound", code: "DENIED_BY_POLICY" });
    await client.access({ direction: "outbound", code: "PEER_DENIED" });
  });
});
