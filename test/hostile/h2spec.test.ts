// The conformance suite h2spec against a uproxy's tunnel port. It speaks no client certificate, so a forwarder adds one. Its requests are
// GET and POST, which the port refuses with 400 and no body; what it holds of frames and states is the same for every request.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { openSession, request, tlsOf } from "../support/h2.ts";
import { LIBRARY, runH2spec } from "../support/h2spec.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { startTlsForwarder, type TlsForwarder } from "../support/tls-forwarder.ts";

const ECHO = 7001;

const NO_BODY = "expects the body of an answer; the refusal of what is no CONNECT has none";

/** The cases that do not apply to a port of tunnels. */
const EXPECTED: Readonly<Record<string, string>> = {
  ...LIBRARY,
  "generic/2: Sends a WINDOW_UPDATE frame on half-closed (remote) stream": NO_BODY,
  "generic/2: Sends a PRIORITY frame on half-closed (remote) stream": NO_BODY,
  "generic/4: Sends a POST request with trailers": "trailers are a stream error here: no tunnel has any",
  "http2/4.2: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE":
    "takes the frame size to be the protocol's 16 KiB; we announce 1 MiB",
};

describe("h2spec against the tunnel port", needs({ commands: ["h2spec"] }), () => {
  let mesh: Mesh;
  let server: Proxy;
  let forwarder: TlsForwarder;

  before(async () => {
    mesh = await startMesh();
    const address = mesh.address();
    mesh.write("mesh", [
      service("app", [{ name: "tcp", port: ECHO }]),
      workloadEntry("app", address, { serviceAccount: "app" }),
    ]);
    await mesh.with(startTcpApp(address, ECHO, echo));
    server = await mesh.uproxy({ name: "app", address });
    forwarder = await startTlsForwarder(address, PORTS.hbone, tlsOf(await mesh.issue("h2spec")));
    mesh.atEnd(() => forwarder.stop());
  });

  after(() => mesh.stop());

  test("every case passes that applies, and the uproxy serves on", async () => {
    const { failed, stdout } = await runH2spec("127.0.0.1", forwarder.port, mesh.folder);
    const unexpected = failed.filter((name) => !(name in EXPECTED));
    assert.deepEqual(unexpected, [], stdout.slice(stdout.indexOf("Failures:")));

    const session = await openSession(server.address, PORTS.hbone, tlsOf(await mesh.issue("client")));
    const tunnel = await request(session, { ":authority": `${server.address}:${ECHO}` });
    assert.equal(tunnel.status, 200);
    session.destroy();
  });
});
