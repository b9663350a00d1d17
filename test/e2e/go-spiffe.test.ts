// The identities of Culvert as the authors of the SPIFFE standards understand them: go-spiffe's own TLS client and server against a uproxy,
// with certificates of our authority and of a Workload API.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { spiffeId } from "../support/identities.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { spiffeCall, SPIFFE_PEER, startAgent, startSpiffeServer } from "../support/spiffe-peer.ts";
import { attempt, converse } from "../support/tcp.ts";

const ECHO = 7001;
const TO_APP = 9001;
const TO_STRICT = 9002;

describe("go-spiffe on the other side", needs({ commands: [SPIFFE_PEER] }), () => {
  let mesh: Mesh;
  let uproxy: Proxy;
  let appAddress: string;
  let strictAddress: string;
  let identity: string;

  before(async () => {
    mesh = await startMesh();
    const address = mesh.address();
    [appAddress, strictAddress] = [mesh.address(), mesh.address()];
    mesh.write("mesh", [
      workloadEntry("proxied", address, { serviceAccount: "proxied" }),
      ...Object.entries({ "go-app": appAddress, "go-strict": strictAddress }).flatMap(([name, at]) => [
        service(name, [{ name: "tcp", port: ECHO }]),
        workloadEntry(name, at, { serviceAccount: name }),
      ]),
    ]);
    await mesh.with(startTcpApp(address, ECHO, echo));
    uproxy = await mesh.uproxy({
      name: "proxied",
      address,
      listeners: [
        { listen: hostPort(mesh.inside(address), TO_APP), to: `go-app:${ECHO}` },
        { listen: hostPort(mesh.inside(address), TO_STRICT), to: `go-strict:${ECHO}` },
      ],
    });
    identity = (await mesh.issue("go-client")).folder;
  });

  after(() => mesh.stop());

  const call = (authorize: string): ReturnType<typeof spiffeCall> =>
    spiffeCall(hostPort(uproxy.address, PORTS.hbone), hostPort(uproxy.address, ECHO), "from go", {
      identity,
      authorize,
    });

  test("its client takes a uproxy's certificate, and a uproxy its own: mutual TLS 1.3, h2, an HBONE call", async () => {
    const { stdout, stderr, code } = await call(spiffeId("proxied"));
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), { peer: spiffeId("proxied"), status: 200, echoed: "from go" });
    const line = await uproxy.access({ direction: "inbound", "src.identity": spiffeId("go-client") });
    assert.equal(line["code"], undefined);
  });

  test("its client refuses a uproxy that is another than it expects", async () => {
    const { stderr, code } = await call(spiffeId("somebody-else"));
    assert.notEqual(code, 0);
    assert.match(stderr, /unexpected ID "spiffe:\/\/cluster\.local\/ns\/default\/sa\/proxied"/);
  });

  test("its server takes a uproxy as client, and the uproxy its certificate", async () => {
    const { folder } = await mesh.issue("go-app");
    const server = await mesh.with(
      startSpiffeServer(hostPort(appAddress, PORTS.hbone), { identity: folder, authorize: spiffeId("proxied") }),
    );
    const { received, ended } = await converse(uproxy.inside, TO_APP, "to go");
    assert.deepEqual([String(received), ended], ["to go", "end"]);
    const seen = JSON.parse(await server.line(/"peer"/)) as Record<string, unknown>;
    assert.deepEqual(seen, {
      peer: spiffeId("proxied"),
      method: "CONNECT",
      authority: hostPort(appAddress, ECHO),
    });
  });

  test("its server refuses a uproxy that is another than it authorises", async () => {
    const { folder } = await mesh.issue("go-strict");
    const server = await mesh.with(
      startSpiffeServer(hostPort(strictAddress, PORTS.hbone), {
        identity: folder,
        authorize: spiffeId("somebody-else"),
      }),
    );
    assert.equal(await attempt(uproxy.inside, TO_STRICT).ended(), "ECONNRESET");
    assert.match(await server.line(/refused/), /unexpected ID/);
  });

  test("both with identities from one Workload API", async () => {
    const [own, its] = [join(mesh.folder, "own.sock"), join(mesh.folder, "its.sock")];
    const agent = await startAgent(join(mesh.folder, "control.sock"), {
      [own]: [spiffeId("proxied")],
      [its]: [spiffeId("go-client")],
    });
    mesh.atEnd(() => agent.program.stop());
    const address = mesh.address();
    mesh.write("more", [workloadEntry("second", address, { serviceAccount: "proxied" })]);
    await mesh.with(startTcpApp(address, ECHO, echo));
    await mesh.uproxy({ name: "second", address, config: { identity: { workloadApi: `unix://${own}` } } });
    const { stdout, stderr, code } = await spiffeCall(
      hostPort(address, PORTS.hbone),
      hostPort(address, ECHO),
      "from go",
      { socket: its, authorize: spiffeId("proxied") },
    );
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), { peer: spiffeId("proxied"), status: 200, echoed: "from go" });
  });
});
