// app → uproxy → waypoint → uproxy → app with the client and the server that Gateway API's mesh conformance suite uses.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { ISTIO_ECHO, istioEcho, startIstioEcho, type EchoAnswer } from "../support/istio-echo.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { service, waypoint, workloadEntry } from "../support/resources.ts";

const HTTP = 8080;
const GRPC = 7070;
const TCP = 9090;

describe("Istio's echo server behind a waypoint", needs({ root: true, commands: ISTIO_ECHO }), () => {
  let mesh: Mesh;
  let client: Proxy;

  before(async () => {
    mesh = await startMesh();
    const addresses = { client: mesh.address(), echo: mesh.address(), waypoint: mesh.address() };
    mesh.write("mesh", [
      service("echo", [{ name: "http", port: HTTP, appProtocol: "http" }], {
        labels: { "istio.io/use-waypoint": "waypoint" },
      }),
      service(
        "direct",
        [
          { name: "grpc", port: GRPC, appProtocol: "grpc" },
          { name: "tcp", port: TCP, appProtocol: "tcp" },
        ],
        { app: "echo" },
      ),
      workloadEntry("client", addresses.client, { serviceAccount: "client" }),
      workloadEntry("echo", addresses.echo, { serviceAccount: "echo" }),
      ...waypoint("waypoint", addresses.waypoint, { serviceAccount: "waypoint" }),
    ]);
    await mesh.with(
      startIstioEcho({
        address: addresses.echo,
        ports: { port: [HTTP], grpc: [GRPC], tcp: [TCP] },
        version: "v2",
        hostname: "echo-v2-pod",
      }),
    );
    const to = { [HTTP]: "echo", [GRPC]: "direct", [TCP]: "direct" };
    [client] = await Promise.all([
      mesh.uproxy({
        name: "client",
        address: addresses.client,
        listeners: Object.entries(to).map(([port, name]) => ({
          listen: hostPort(mesh.inside(addresses.client), Number(port)),
          to: `${name}:${port}`,
        })),
      }),
      mesh.uproxy({ name: "echo", address: addresses.echo }),
      mesh.waypoint({ name: "waypoint", address: addresses.waypoint, gateway: "waypoint" }),
    ]);
  });

  after(() => mesh.stop());

  async function answered(scheme: string, port: number, path = "", ...options: readonly string[]): Promise<EchoAnswer> {
    const { answers, text } = await istioEcho(`${scheme}://${hostPort(client.inside, port)}${path}`, options);
    const [answer] = answers;
    assert.ok(answer !== undefined, text);
    return answer;
  }

  test("a request over HTTP/1.1 arrives as it was sent, and the answer with it", async () => {
    const answer = await answered("http", HTTP, "/a%20b?x=1", "-H", "Host: echo", "-H", "X-Twice: one");
    assert.equal(answer.status, 200);
    assert.deepEqual(
      ["Host", "URL", "Method", "Proto", "ServiceVersion", "Hostname"].map((name) => answer.server.get(name)),
      [["echo"], ["/a%20b?x=1"], ["GET"], ["HTTP/1.1"], ["v2"], ["echo-v2-pod"]],
    );
    assert.deepEqual(answer.request.get("X-Twice"), ["one"]);
    assert.deepEqual(answer.response.get("Content-Type"), ["text/plain; charset=utf-8"]);
  });

  test("a status that the request asks for", async () => {
    assert.equal((await answered("http", HTTP, "/?codes=418")).status, 418);
  });

  test("without a waypoint, gRPC and plain TCP", async () => {
    const grpc = await answered("grpc", GRPC);
    assert.deepEqual([grpc.status, grpc.server.get("Proto")], [200, ["GRPC"]]);
    const tcp = await istioEcho(`tcp://${hostPort(client.inside, TCP)}`);
    assert.equal(tcp.code, 0, tcp.text);
    assert.match(tcp.text, /Proto=TCP/);
  });
});
