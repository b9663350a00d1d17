import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import { after, before, describe, test } from "node:test";
import { createServer, type TlsOptions, type TLSSocket } from "node:tls";
import type { BackendTls } from "@culvert/shared/config/backend-tls.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { mint, type CertificateSpec, type Minted } from "@culvert/test/support/ca.ts";
import { backendTls } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { until, within } from "@culvert/test/support/until.ts";
import { socketChannel } from "../channel/socket-channel.ts";
import type { ByteChannel, ByteSink } from "../channel/channel.ts";
import { BackendHandshakes } from "./backend-handshakes.ts";

const NAME = "shop.example.com";
const SPIFFE = "spiffe://cluster.local/ns/default/sa/shop";

class Recorder implements ByteSink {
  received = "";
  ended = false;
  drains = 0;
  closed: readonly [Failure | undefined] | undefined;
  onBytes(chunk: Buffer): void {
    this.received += chunk.toString("latin1");
  }
  onEnd(): void {
    this.ended = true;
  }
  onDrain(): void {
    this.drains += 1;
  }
  onClose(failure: Failure | undefined): void {
    this.closed = [failure];
  }
}

describe("TLS to a backend", () => {
  const servers: Server[] = [];
  const sockets: TLSSocket[] = [];
  const handshakes = new BackendHandshakes(systemClock, 10_000);
  let ca: Minted;
  let otherCa: Minted;

  before(async () => {
    const spec: CertificateSpec = { subject: "CN=Backends", ca: {}, keyUsage: ["keyCertSign"], extendedKeyUsage: [] };
    ca = await mint(undefined, spec);
    otherCa = await mint(undefined, { ...spec, subject: "CN=Others" });
  });
  after(() => {
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
  });

  async function listening(server: Server): Promise<number> {
    servers.push(server);
    await once(server.listen(0, "127.0.0.1"), "listening");
    return (server.address() as AddressInfo).port;
  }

  /** A server with a certificate; returns its port. */
  async function backend(spec: CertificateSpec, options: TlsOptions = {}, issuer = ca): Promise<number> {
    const { chainPem, keyPem } = await mint(issuer, spec);
    return listening(
      createServer({ cert: chainPem, key: keyPem, allowHalfOpen: true, ...options }, (socket) => {
        sockets.push(socket);
        socket.on("error", () => {});
      }).on("tlsClientError", () => {}),
    );
  }

  function policyOf(parts: Partial<BackendTls> = {}): BackendTls {
    return backendTls("p", NAME, { roots: [ca.chainPem], ...parts });
  }

  async function secure(
    port: number,
    policy: BackendTls = policyOf(),
    alpn: readonly string[] = [],
    by = handshakes,
  ): Promise<ByteChannel | Failure> {
    const bulk = must(await connectBulk({ host: "127.0.0.1", port, timeoutMs: 5_000, clock: systemClock }));
    return by.secure(socketChannel(bulk), { policy, key: JSON.stringify(policy) }, alpn);
  }

  /** Both ends of a connection. With TLS 1.3 the client's handshake is over before the server's. */
  async function bothEnds(
    port: number,
    policy?: BackendTls,
    alpn?: readonly string[],
  ): Promise<{ channel: ByteChannel; app: TLSSocket }> {
    const count = sockets.length;
    const channel = await secure(port, policy, alpn);
    assert.ok(!isFailure(channel), JSON.stringify(channel));
    return { channel, app: await until("the application's end", () => sockets[count]) };
  }

  async function refused(port: number, policy?: BackendTls): Promise<string> {
    const result = await secure(port, policy);
    assert.ok(isFailure(result), "it was trusted");
    return `${result.code} ${result.detail}`;
  }

  test("bytes go both ways, each half-close on its own, in order", async () => {
    const port = await backend({ dns: [NAME] });
    const { channel, app } = await bothEnds(port);
    assert.equal(app.servername, NAME);
    assert.equal(channel.alpn, undefined);
    const sink = new Recorder();
    channel.attach(sink);
    channel.writeLatin1("hello \xff");
    channel.end();
    const said: Buffer[] = [];
    app.on("data", (chunk: Buffer) => said.push(chunk));
    await within("the end at the application", once(app, "end"));
    assert.equal(Buffer.concat(said).toString("latin1"), "hello \xff");
    app.end("bye");
    await until("the close", () => sink.closed);
    assert.deepEqual([sink.received, sink.ended, sink.closed], ["bye", true, [undefined]]);
  });

  test("a connection that breaks is a failure, and so is one that is given up at the other end", async () => {
    const port = await backend({ dns: [NAME] });
    const { channel, app: first } = await bothEnds(port);
    const sink = new Recorder();
    channel.attach(sink);
    first.destroy();
    await until("the close", () => sink.closed);
    assert.equal(sink.closed?.[0]?.code, "APP_RESET");
    const { channel: given, app } = await bothEnds(port);
    given.attach(new Recorder());
    app.resume();
    const broken = once(app, "error") as Promise<[NodeJS.ErrnoException]>;
    given.reset(undefined);
    const [error] = await within("the reset at the application", broken);
    assert.equal(error.code, "ECONNRESET");
  });

  test("a reader that does not read holds the application back, and a full one tells of room", async () => {
    const port = await backend({ dns: [NAME] });
    const { channel, app } = await bothEnds(port);
    const sink = new Recorder();
    channel.attach(sink);
    channel.pause();
    const block = Buffer.alloc(1024 * 1024);
    let sent = 0;
    const more = (): void => {
      while (sent < 64 && app.write(block)) sent += 1;
    };
    app.on("drain", more);
    more();
    let full = 0;
    while (channel.writeBytes(block)) full += 1;
    assert.ok(full < 64);
    app.resume();
    await until("room", () => sink.drains > 0);
    const soFar = sink.received.length;
    channel.resume();
    await until("the rest", () => sink.received.length > soFar + block.length);
    channel.reset(undefined);
  });

  for (const [what, spec, parts] of [
    ["a name below a wildcard", { dns: ["*.example.com"] }, {}],
    ["one of several names", { dns: ["a.example"] }, { subjectAltNames: [{ type: "hostname", value: "a.example" }] }],
    [
      "a wildcard that is asked for",
      { dns: ["*.a.example"] },
      { subjectAltNames: [{ type: "hostname", value: "*.a.example" }] },
    ],
    [
      "any one of the list",
      { uris: [SPIFFE] },
      {
        subjectAltNames: [
          { type: "hostname", value: "b.example" },
          { type: "uri", value: SPIFFE },
        ],
      },
    ],
  ] as const) {
    test(`trusted: ${what}`, async () => {
      const { channel, app } = await bothEnds(await backend(spec), policyOf(parts));
      channel.attach(new Recorder());
      channel.reset(undefined);
      assert.equal(app.servername, NAME, "SNI is the host whatever the names");
    });
  }

  for (const [what, spec, parts, expected] of [
    [
      "another name",
      { dns: ["other.example.com"] },
      {},
      /^BACKEND_UNTRUSTED default\/p: the certificate is for DNS:other/,
    ],
    ["a common name alone", { subject: `CN=${NAME}` }, {}, /BACKEND_UNTRUSTED .*no name/],
    ["a wildcard over two labels", { dns: ["*.com"] }, {}, /BACKEND_UNTRUSTED/],
    [
      "the host where other names are asked for",
      { dns: [NAME] },
      { subjectAltNames: [{ type: "uri", value: SPIFFE }] },
      /UNTRUSTED/,
    ],
    ["another URI", { uris: [`${SPIFFE}2`] }, { subjectAltNames: [{ type: "uri", value: SPIFFE }] }, /UNTRUSTED/],
    [
      "a certificate that has expired",
      { dns: [NAME], notAfter: new Date(1e12) },
      {},
      /BACKEND_UNTRUSTED .*CERT_HAS_EXPIRED/,
    ],
    ["one for clients alone", { dns: [NAME], extendedKeyUsage: ["1.3.6.1.5.5.7.3.2"] }, {}, /UNTRUSTED .*PURPOSE/],
    ["roots of the system for one of our own", { dns: [NAME] }, { roots: "system" }, /BACKEND_UNTRUSTED/],
    [
      "roots that are none",
      { dns: [NAME] },
      { roots: ["-----BEGIN CERTIFICATE-----\n!"] },
      /BACKEND_(TLS_INVALID|UNTRUSTED)/,
    ],
  ] as const) {
    test(`refused: ${what}`, async () => {
      assert.match(await refused(await backend(spec), policyOf(parts)), expected);
    });
  }

  test("refused: another issuer, something that is not TLS, an end in the middle", async () => {
    assert.match(await refused(await backend({ dns: [NAME] }, {}, otherCa)), /BACKEND_UNTRUSTED/);
    const plain = await listening(
      createTcpServer((socket) => socket.on("error", () => {}).end("HTTP/1.1 400 Bad\r\n\r\n")),
    );
    assert.match(await refused(plain), /BACKEND_TLS_FAILURE/);
    const rude = await listening(
      createTcpServer((socket) => socket.on("error", () => {}).once("data", () => socket.resetAndDestroy())),
    );
    assert.match(await refused(rude), /BACKEND_TLS_FAILURE|APP_RESET/);
    const old = await backend(
      { dns: [NAME] },
      { maxVersion: "TLSv1.1", minVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" },
    );
    assert.match(await refused(old), /BACKEND_TLS_FAILURE/);
  });

  test("a handshake that does not end has a deadline", async () => {
    let accepted = 0;
    const silent = await listening(
      createTcpServer((socket) => void ((accepted += 1), socket.on("error", () => {}).resume())),
    );
    const clock = new FakeClock();
    const pending = secure(silent, policyOf(), [], new BackendHandshakes(clock, 3_000));
    await until("the connection", () => accepted > 0);
    await until("the deadline", () => clock.pending > 0);
    clock.advance(3_000);
    const result = await pending;
    assert.ok(isFailure(result) && result.code === "BACKEND_TLS_FAILURE");
    assert.match(result.detail, /within 3000 ms/);
  });

  test("ALPN agrees on what both speak", async () => {
    const { channel: both } = await bothEnds(
      await backend({ dns: [NAME] }, { ALPNProtocols: ["http/1.1", "h2"] }),
      undefined,
      ["h2", "http/1.1"],
    );
    assert.equal(both.alpn, "http/1.1");
    both.reset(undefined);
    const { channel: two } = await bothEnds(await backend({ dns: [NAME] }, { ALPNProtocols: ["h2"] }), undefined, [
      "h2",
      "http/1.1",
    ]);
    assert.equal(two.alpn, "h2");
    two.reset(undefined);
    const { channel: none } = await bothEnds(await backend({ dns: [NAME] }), undefined, ["h2", "http/1.1"]);
    assert.equal(none.alpn, undefined);
    none.reset(undefined);
  });
});
