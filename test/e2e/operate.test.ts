// A uproxy as its operators see it: health, metrics, admin, drain, and that it gives back what it took.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { identityOf, spiffeId } from "../support/identities.ts";
import { baselineOf, settlesAt } from "../support/leaks.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { memory } from "../support/proc.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { attempt, converse, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";
import { join } from "node:path";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";

const ECHO = 7001;
const CLOSED = 7004;

function admin(proxy: Proxy, path: string): string {
  return `http://${proxy.admin}${path}`;
}

async function metricsOf(proxy: Proxy, accept = "text/plain"): Promise<string> {
  const { body } = await ask(`http://${hostPort(proxy.address, PORTS.metrics)}/metrics`, { headers: { accept } });
  return body;
}

describe("operating a uproxy", () => {
  let mesh: Mesh;
  let client: Proxy;
  let server: Proxy;

  before(async () => {
    mesh = await startMesh();
    const clientAddress = mesh.address();
    const serverAddress = mesh.address();
    mesh.write("mesh", [
      service("app", [
        { name: "tcp", port: ECHO },
        { name: "tcp-closed", port: CLOSED },
      ]),
      workloadEntry("app", serverAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startTcpApp(serverAddress, ECHO, echo));
    server = await mesh.uproxy({ name: "app", address: serverAddress });
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: [ECHO, CLOSED].map((port) => ({
        listen: hostPort(mesh.inside(clientAddress), port),
        to: `app:${port}`,
      })),
    });
  });

  after(() => mesh.stop());

  test("metrics count connections, bytes and failures under Istio's names", async () => {
    await converse(client.inside, ECHO, "x".repeat(1000));
    await attempt(client.inside, CLOSED).ended();
    await client.access({ code: "PEER_UNAVAILABLE" });
    const text = await metricsOf(client);
    for (const pattern of [
      /^istio_tcp_connections_opened_total\{[^}]*reporter="source"[^}]*\} [1-9]/m,
      /^istio_tcp_sent_bytes_total\{[^}]*destination_workload="app"[^}]*\} [1-9]\d{3}/m,
      /^istio_tcp_received_bytes_total\{/m,
      /^culvert_failures_total\{code="PEER_UNAVAILABLE"\} 1$/m,
      /connection_security_policy="mutual_tls"/,
    ]) {
      assert.match(text, pattern);
    }
    assert.ok(text.includes(`destination_principal="${spiffeId("app")}"`), "the destination's identity is a label");
    assert.match(await metricsOf(client, "application/openmetrics-text"), /# EOF\n$/);
    const same = await ask(`http://${hostPort(client.address, PORTS.metrics)}/stats/prometheus`);
    assert.equal(same.status, 200);
  });

  test("the configuration dump shows what is understood and no secret", async () => {
    const { status, body } = await ask(admin(server, "/config_dump"));
    assert.equal(status, 200);
    assert.match(body, /app\.default\.svc\.cluster\.local/);
    const key = readFileSync(identityOf(join(mesh.folder, "identities"), "app").key, "utf8");
    const secret = key.split("\n")[1] ?? "";
    const certificates = await ask(admin(server, "/certificates"));
    assert.match(certificates.body, /spiffe:\/\/cluster\.local\/ns\/default\/sa\/app/);
    for (const text of [body, certificates.body, ...server.program.output]) {
      assert.ok(!text.includes("PRIVATE KEY") && !text.includes(secret), "a private key leaves the process");
    }
  });

  test("live connections are listed while they live", async () => {
    const connection = await dial(client.inside, ECHO);
    connection.send("12345");
    await connection.bytes(5);
    const { body } = await ask(admin(client, "/connections"));
    assert.match(body, /"bytes_recv": ?5/);
    connection.close();
    await until("the connection to leave the list", async () => {
      const { body: now } = await ask(admin(client, "/connections"));
      return !/"bytes_recv": ?5/.test(now);
    });
  });

  test("what changes something needs POST and a header that no browser sends by itself", async () => {
    const path = "/logging?level=info";
    assert.equal((await ask(admin(client, path), { method: "POST" })).status, 403);
    const wrong = await ask(admin(client, "/drain"), { headers: { "culvert-admin": "1" } });
    assert.equal(wrong.status, 405);
    const rebound = await ask(admin(client, "/config_dump"), { headers: { host: "evil.example" } });
    assert.equal(rebound.status, 403, "a host name that is not ours is DNS rebinding");
    const right = await ask(admin(client, path), { method: "POST", headers: { "culvert-admin": "1" } });
    assert.equal(right.status, 200);
  });

  test("descriptors, connections and memory come back after a rough crowd", async () => {
    await converse(client.inside, ECHO, "warm");
    const baselines = [baselineOf(client.program), baselineOf(server.program)];
    for (let round = 0; round < 5; round++) {
      const crowd = Array.from({ length: 200 }, (_, index) => attempt(client.inside, index % 5 === 0 ? CLOSED : ECHO));
      for (const connection of crowd) connection.send("some bytes");
      await Promise.all(crowd.filter((_, index) => index % 5 === 1).map((connection) => connection.bytes(10)));
      for (const [index, connection] of crowd.entries()) {
        if (index % 3 === 0) connection.reset();
        else if (index % 3 === 1) connection.finish();
        else connection.close();
      }
      await Promise.all(crowd.map((connection) => connection.ended()));
    }
    // Two hundred at once take up to three sessions, which stay pooled.
    for (const baseline of baselines) await settlesAt(baseline, 3);
    for (const proxy of [client, server]) {
      await until(`no connection in ${proxy.name}`, async () => {
        const { open } = JSON.parse((await ask(admin(proxy, "/connections"))).body) as { open: number };
        return open === 0;
      });
      const { anon } = memory(proxy.program.pid);
      assert.ok(anon < 120, `${proxy.name} holds ${anon.toFixed(1)} MiB`);
    }
  });

  test("draining: not ready at once, what is open may finish, then a clean end", async () => {
    const ready = `http://${hostPort(server.address, PORTS.readiness)}/healthz/ready`;
    assert.equal((await ask(ready)).status, 200);
    const connection = await dial(client.inside, ECHO);
    connection.send("before");
    await connection.bytes(6);
    const drained = await ask(admin(server, "/drain"), { method: "POST", headers: { "culvert-admin": "1" } });
    assert.equal(drained.status, 200);
    assert.equal((await ask(ready)).status, 503);
    assert.equal((await ask(`http://${hostPort(server.address, PORTS.readiness)}/healthz/live`)).status, 200);
    connection.finish(" and after");
    assert.equal(await connection.ended(), "end");
    assert.equal(connection.received.toString(), "before and after");
    server.program.signal("SIGTERM");
    const { code } = await server.program.exited;
    assert.equal(code, 0);
  });
});
