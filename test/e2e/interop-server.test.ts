// The wire as ztunnel, Istio's waypoints and Envoy speak it: what a uproxy must accept, answer and tolerate as tunnel server. Each test is one line of a check-list for interoperation.
import assert from "node:assert/strict";
import { once } from "node:events";
import { constants, type ClientHttp2Session } from "node:http2";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { countThenAnswer, echo, startTcpApp, type App } from "../support/apps.ts";
import { mintSvid, svidName, testAuthority } from "../support/ca.ts";
import { dialTls, openSession, readAll, request, tlsOf } from "../support/h2.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const { NGHTTP2_CANCEL } = constants;
const MIB = 1024 * 1024;
const ECHO = 7001;
const COUNT = 7002;
const SOURCE = 7003;
const CLOSED = 7004;
const SILENT = 7005;

/** As ztunnel's client announces itself. */
const ZTUNNEL_SETTINGS = {
  initialWindowSize: 4 * MIB,
  maxFrameSize: MIB,
  maxHeaderListSize: 16 * 1024,
  enablePush: false,
};

describe("a uproxy as tunnel server", () => {
  let mesh: Mesh;
  let server: Proxy;
  let silent: App;
  let tls: ConnectionOptions;
  let session: ClientHttp2Session;

  before(async () => {
    mesh = await startMesh();
    const address = mesh.address();
    mesh.write("mesh", [
      service("app", [{ name: "tcp", port: 80, targetPort: ECHO }]),
      service("other", [{ name: "tcp", port: 80, targetPort: ECHO }]),
      workloadEntry("app", address, { serviceAccount: "app" }),
      authorizationPolicy("deny-one-port", "DENY", { app: "app" }, [
        { to: [{ operation: { ports: [String(SOURCE)] } }] },
      ]),
    ]);
    await mesh.with(startTcpApp(address, ECHO, echo));
    await mesh.with(startTcpApp(address, COUNT, countThenAnswer));
    silent = await mesh.with(startTcpApp(address, SILENT, (socket) => socket.pause()));
    server = await mesh.uproxy({ name: "app", address });
    tls = tlsOf(await mesh.issue("ztunnel"));
  });

  after(() => mesh.stop());

  beforeEach(async () => {
    session = await openSession(server.address, PORTS.hbone, tls, ZTUNNEL_SETTINGS);
  });

  afterEach(() => session.destroy());

  const at = (port: number): string => hostPort(server.address, port);

  for (const cipher of ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"]) {
    test(`it takes ${cipher}, TLS 1.3 and h2`, async () => {
      const socket = await dialTls(server.address, PORTS.hbone, { ...tls, ciphers: cipher });
      assert.equal(socket.getCipher().name, cipher);
      assert.equal(socket.getProtocol(), "TLSv1.3");
      assert.equal(socket.alpnProtocol, "h2");
      socket.destroy();
    });
  }

  for (const group of ["X25519MLKEM768", "X25519", "P-256"]) {
    test(`it agrees on a key by ${group}`, async () => {
      const socket = await dialTls(server.address, PORTS.hbone, { ...tls, ecdhCurve: group });
      socket.destroy();
    });
  }

  test("it gives the same certificate whatever name the client asks for", async () => {
    for (const servername of ["", "app.default", "evil.example"]) {
      const socket = await dialTls(server.address, PORTS.hbone, { ...tls, servername });
      assert.match(
        String(socket.getPeerX509Certificate()?.subjectAltName),
        /URI:spiffe:\/\/cluster\.local\/ns\/default\/sa\/app/,
      );
      socket.destroy();
    }
  });

  test("it refuses TLS 1.2, no client certificate, a foreign trust domain and a foreign protocol", async () => {
    const foreign = await testAuthority("foreign.test");
    const stranger = await mintSvid(foreign, svidName(foreign, "default", "client"));
    const spoofed = await mintSvid(foreign, "spiffe://cluster.local/ns/default/sa/client");
    const refused: readonly [what: string, options: ConnectionOptions][] = [
      ["TLS 1.2", { ...tls, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" }],
      ["no certificate", { ca: tls.ca ?? "" }],
      ["another trust domain", { ...tls, cert: stranger.chainPem, key: stranger.keyPem }],
      ["our trust domain by another root", { ...tls, cert: spoofed.chainPem, key: spoofed.keyPem }],
      ["http/1.1", { ...tls, ALPNProtocols: ["http/1.1"] }],
    ];
    for (const [what, options] of refused) {
      // With TLS 1.3 the client may be done before the server has said no; then the session never begins.
      await assert.rejects(openSession(server.address, PORTS.hbone, options), `${what} was accepted`);
    }
  });

  test("CONNECT has two pseudo headers and is answered 200 once the app is connected", async () => {
    const { status, stream } = await request(session, { ":authority": at(ECHO) });
    assert.equal(status, 200);
    stream.end("hello");
    assert.equal((await readAll(stream)).toString(), "hello");
  });

  test("a host name of a service leads to the own app", async () => {
    for (const host of ["app.default.svc.cluster.local", "APP.default"]) {
      const { status, stream } = await request(session, { ":authority": `${host}:80` });
      assert.equal(status, 200, host);
      stream.end();
      await readAll(stream);
    }
  });

  const REFUSALS: readonly [
    what: string,
    headers: () => Readonly<Record<string, string>>,
    status: number,
    code: string,
  ][] = [
    [
      "another method",
      () => ({ ":method": "GET", ":scheme": "https", ":path": "/", ":authority": at(ECHO) }),
      400,
      "METHOD_NOT_CONNECT",
    ],
    ["an authority without port", () => ({ ":authority": server.address }), 400, "AUTHORITY_MALFORMED"],
    ["a zero port", () => ({ ":authority": at(0) }), 400, "AUTHORITY_MALFORMED"],
    ["an IPv6 address in no bracket", () => ({ ":authority": "fd00::1:80" }), 400, "AUTHORITY_MALFORMED"],
    ["an IPv6 address that is not ours", () => ({ ":authority": "[fd00::1]:80" }), 400, "DESTINATION_NOT_MINE"],
    ["an address that is not ours", () => ({ ":authority": "10.1.2.3:80" }), 400, "DESTINATION_NOT_MINE"],
    ["a port of the proxy itself", () => ({ ":authority": at(PORTS.hbone) }), 503, "SELF_CALL"],
    ["an app that is not there", () => ({ ":authority": at(CLOSED) }), 503, "APP_REFUSED"],
    ["what a policy denies", () => ({ ":authority": at(SOURCE) }), 401, "DENIED_BY_POLICY"],
  ];
  for (const [what, headers, wanted, code] of REFUSALS) {
    test(`${what} is answered ${wanted} with ${code}, without a body`, async () => {
      const answer = await request(session, headers(), { endStream: what === "another method" });
      assert.equal(answer.status, wanted);
      assert.equal(answer.headers["culvert-code"], code);
      answer.stream.end();
      assert.equal((await readAll(answer.stream)).length, 0);
    });
  }

  test("a service of others is refused with an error status", async () => {
    const { status, stream } = await request(session, { ":authority": "other.default.svc.cluster.local:80" });
    assert.ok([400, 404, 503].includes(status), `answered ${status}`);
    stream.close();
  });

  test("what Istio's proxies send along is understood or ignored", async () => {
    const { status, stream } = await request(session, {
      ":authority": at(ECHO),
      baggage:
        "k8s.cluster.name=one,k8s.namespace.name=default,k8s.deployment.name=app,service.name=app,service.version=v1",
      forwarded: 'for="10.0.0.1:1234";host=app.default.svc.cluster.local',
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
      "x-istio-source": "waypoint",
      "x-forwarded-network": "network-1",
      "x-nobody-knows": "x".repeat(1000),
    });
    assert.equal(status, 200);
    stream.close();
  });

  test("several lines of baggage are no offence, an oversized one ends no session", async () => {
    const lines = await request(session, { ":authority": at(ECHO), baggage: ["a=1", "b=2,,=", "c"].join(",") });
    assert.equal(lines.status, 200);
    lines.stream.close();
    await request(session, { ":authority": at(ECHO), baggage: `a=${"x".repeat(60_000)}` }).then(
      ({ stream }) => stream.close(),
      () => {},
    );
    const { status, stream } = await request(session, { ":authority": at(ECHO) });
    assert.equal(status, 200);
    stream.close();
  });

  test("a half-close of the client reaches the app, whose answer still comes", async () => {
    const { stream } = await request(session, { ":authority": at(COUNT) });
    stream.end(Buffer.alloc(2 * MIB));
    assert.equal((await readAll(stream)).toString(), `${2 * MIB} bytes`);
  });

  test("sixteen mebibytes pass both windows", async () => {
    const { stream } = await request(session, { ":authority": at(ECHO) });
    const data = Buffer.alloc(16 * MIB, "culvert");
    stream.end(data);
    assert.ok((await readAll(stream)).equals(data));
  });

  test("a stalled reader slows none of its neighbours on the session", async () => {
    const stalled = await Promise.all([1, 2, 3, 4, 5].map(() => request(session, { ":authority": at(ECHO) })));
    for (const { stream } of stalled) {
      stream.pause();
      stream.write(Buffer.alloc(8 * MIB));
    }
    const busy = await Promise.all(Array.from({ length: 90 }, () => request(session, { ":authority": at(ECHO) })));
    await Promise.all(
      busy.map(async ({ stream }, index) => {
        const data = Buffer.alloc(256 * 1024, `stream ${index} `);
        stream.end(data);
        assert.ok((await readAll(stream)).equals(data));
      }),
    );
    for (const { stream } of stalled) stream.close(NGHTTP2_CANCEL);
  });

  test("a RST_STREAM of the peer ends the app's connection", async () => {
    const earlier = silent.sockets.size;
    const { stream } = await request(session, { ":authority": at(SILENT) });
    await until("the app's connection", () => silent.sockets.size > earlier);
    for (const socket of silent.sockets) socket.resume();
    resetStream(stream, NGHTTP2_CANCEL);
    await until("the end of the app's connection", () => silent.sockets.size === earlier);
  });

  test("a reset by the app is a reset of the stream", async () => {
    const earlier = silent.sockets.size;
    const { stream } = await request(session, { ":authority": at(SILENT) });
    stream.on("error", () => {});
    const closed = new Promise<void>((resolve) => void stream.once("close", () => resolve()));
    await until("the app's connection", () => silent.sockets.size > earlier);
    for (const socket of silent.sockets) socket.resetAndDestroy();
    await closed;
    assert.notEqual(stream.rstCode, 0);
  });

  test("a PING is answered", async () => {
    const answered = await new Promise<boolean>((resolve) => void session.ping((error) => resolve(error === null)));
    assert.ok(answered);
  });

  test("it announces its limits, so that no peer has to guess", () => {
    const {
      maxConcurrentStreams = Infinity,
      maxHeaderListSize = Infinity,
      initialWindowSize = 0,
    } = session.remoteSettings;
    assert.ok(maxConcurrentStreams <= 1000 && maxConcurrentStreams >= 100, `${maxConcurrentStreams} streams`);
    assert.ok(maxHeaderListSize <= 128 * 1024, `${maxHeaderListSize} bytes of headers`);
    assert.ok(initialWindowSize >= 256 * 1024, `${initialWindowSize} bytes of window`);
  });

  test("draining sends GOAWAY, lets streams finish and takes no new session", async () => {
    const own = await openSession(server.address, PORTS.hbone, tls);
    const { stream } = await request(own, { ":authority": at(ECHO) });
    const goaway = once(own, "goaway");
    server.program.signal("SIGTERM");
    await goaway;
    stream.end("to the end");
    assert.equal((await readAll(stream)).toString(), "to the end");
    own.destroy();
    session.destroy();
    await server.program.exited;
    assert.equal(server.program.exit?.code, 0);
  });
});
