// The conformance suite h2spec against a uproxy's tunnel port. It speaks no client certificate, so a forwarder adds one. Its requests are
// GET and POST, which the port refuses with 400 and no body; what it holds of frames and states is the same for every request.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { command } from "../support/env.ts";
import { openSession, request, tlsOf } from "../support/h2.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { run } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { startTlsForwarder, type TlsForwarder } from "../support/tls-forwarder.ts";

const ECHO = 7001;
/** Whole seconds that h2spec waits for each reaction. */
const REACTION_S = 3;

const NO_BODY = "expects the body of an answer; the refusal of what is no CONNECT has none";
const FORGOTTEN =
  "the HTTP/2 library forgets closed streams and ignores what still comes on them; nothing reaches an app";
const NO_PRIORITY = "PRIORITY is deprecated (RFC 9113 section 5.3.2) and ignored as a whole";

/** The cases that do not apply, or that ask for what RFC 9113 lets us choose, each with the reason. Everything else must pass. */
const EXPECTED: Readonly<Record<string, string>> = {
  "generic/2: Sends a WINDOW_UPDATE frame on half-closed (remote) stream": NO_BODY,
  "generic/2: Sends a PRIORITY frame on half-closed (remote) stream": NO_BODY,
  "generic/4: Sends a POST request with trailers": "trailers are a stream error here: no tunnel has any",
  "http2/4.2: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE":
    "takes the frame size to be the protocol's 16 KiB; we announce 1 MiB",
  "http2/5.1: closed: Sends a DATA frame after sending RST_STREAM frame": FORGOTTEN,
  "http2/5.1: closed: Sends a HEADERS frame after sending RST_STREAM frame": FORGOTTEN,
  "http2/5.1: closed: Sends a DATA frame": FORGOTTEN,
  "http2/5.1: closed: Sends a HEADERS frame": FORGOTTEN,
  "http2/5.1.1: Sends stream identifier that is numerically smaller than previous": FORGOTTEN,
  "http2/5.3.1: Sends PRIORITY frame that depend on itself": NO_PRIORITY,
  "http2/6.3: Sends a PRIORITY frame with 0x0 stream identifier": NO_PRIORITY,
  "http2/6.7: Sends a PING frame with ACK": "an answer to what nobody asked ends the session",
  "http2/6.9.1: Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream":
    "ends the session in place of the stream, which RFC 9113 section 6.9.1 leaves open",
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
    const report = join(mesh.folder, "h2spec.xml");
    const where = ["--host", "127.0.0.1", "--port", String(forwarder.port)];
    const how = ["--strict", "--timeout", String(REACTION_S), "--junit-report", report];
    const { stdout } = await run(command("h2spec"), [...where, ...how], { deadlineMs: 110_000 });
    const cases = readFileSync(report, "utf8").matchAll(
      /<testcase package="([^"]*)" classname="([^"]*)"[^>]*>\s*(?:<(failure|error|skipped))?/g,
    );
    const failed: string[] = [];
    let count = 0;
    for (const [, name, what, outcome] of cases) {
      count += 1;
      if (outcome === "failure" || outcome === "error") failed.push(`${name}: ${what}`);
    }
    assert.ok(count > 140, `h2spec ran ${count} cases:\n${stdout.slice(-4_000)}`);
    const unexpected = failed.filter((name) => !(name in EXPECTED));
    assert.deepEqual(unexpected, [], stdout.slice(stdout.indexOf("Failures:")));

    const session = await openSession(server.address, PORTS.hbone, tlsOf(await mesh.issue("client")));
    const tunnel = await request(session, { ":authority": `${server.address}:${ECHO}` });
    assert.equal(tunnel.status, 200);
    session.destroy();
  });
});
