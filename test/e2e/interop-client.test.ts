// The wire as ztunnel, Istio's waypoints and Envoy speak it: what a uproxy sends and tolerates as tunnel client. Each test is one
// line of a check-list for interoperation; the peer is one on Node's HTTP/2 that does what the test says.
import assert from "node:assert/strict";
import { constants, type IncomingHttpHeaders, type SecureServerOptions, type ServerHttp2Stream } from "node:http2";
import { after, before, describe, test } from "node:test";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { testAuthority } from "../support/ca.ts";
import { startPeer, tlsOf, type FakePeer } from "../support/h2.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { attempt, converse, dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM } = constants;
const ECHO = 7001;

/** Where a peer of a test can stand, and the listener of the uproxy that leads there. */
interface Place {
  readonly name: string;
  readonly address: string;
  readonly listener: number;
}

const PLACES = 24;
const FIRST_LISTENER = 9000;

/** Answers 200 and sends back what comes. */
function echoStream(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200 });
  stream.on("data", (chunk: Buffer) => stream.write(chunk));
  stream.on("end", () => stream.end());
}

/** Answers a status and ends. */
function answer(status: number): (stream: ServerHttp2Stream) => void {
  return (stream) => stream.respond({ ":status": status }, { endStream: true });
}

/** Answers 200, says half and resets. */
function cutShort(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200 });
  stream.write("half of it", () => resetStream(stream, NGHTTP2_CANCEL));
}

/** Answers 200, says all and ends, without reading. */
function sayAll(stream: ServerHttp2Stream): void {
  stream.respond({ ":status": 200 });
  stream.end("all of it");
}

describe("a uproxy as tunnel client", () => {
  let mesh: Mesh;
  let client: Proxy;
  const places: Place[] = [];

  before(async () => {
    mesh = await startMesh();
    const clientAddress = mesh.address();
    for (let index = 0; index < PLACES; index++) {
      places.push({ name: `app-${index}`, address: mesh.address(), listener: FIRST_LISTENER + index });
    }
    mesh.write("mesh", [
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
      ...places.flatMap(({ name, address }) => [
        service(name, [{ name: "tcp", port: ECHO }]),
        workloadEntry(name, address, { serviceAccount: "app" }),
      ]),
    ]);
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      listeners: places.map(({ name, listener }) => ({
        listen: hostPort(mesh.inside(clientAddress), listener),
        to: `${name}:${ECHO}`,
      })),
    });
  });

  after(() => mesh.stop());

  /**
   * A peer in the place of an app's uproxy for the length of `work`, which is given the port of the listener that leads to it.
   * Every test has a place of its own: a failure keeps the uproxy from dialling the same place again for a while.
   */
  async function withPeer(
    options: SecureServerOptions & { readonly account?: string },
    onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
    work: (port: number, peer: FakePeer) => Promise<void>,
  ): Promise<void> {
    const place = places.pop();
    assert.ok(place, "PLACES is too small");
    const { account = "app", ...rest } = options;
    const files = await mesh.issue(account);
    const peer = await startPeer(place.address, PORTS.hbone, { ...tlsOf(files), ...rest }, onStream);
    try {
      await work(place.listener, peer);
    } finally {
      await peer.stop();
    }
  }

  test("it names target and origin in the request, and nothing that CONNECT must not have", async () => {
    let seen: IncomingHttpHeaders = {};
    const noting = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void => {
      seen = headers;
      echoStream(stream);
    };
    await withPeer({}, noting, async (port) => {
      assert.equal((await converse(client.inside, port, "x")).received.toString(), "x");
    });
    assert.equal(seen[":method"], "CONNECT");
    const ip = String.raw`(?:127\.[\d.]+|\[(?:fd99)?::[\da-f]+\])`;
    assert.match(String(seen[":authority"]), new RegExp(`^${ip}:${ECHO}$`));
    const host = String.raw`app-\d+\.default\.svc\.cluster\.local`;
    assert.match(String(seen["forwarded"]), new RegExp(`^for="${ip}:\\d+";host=${host}$`));
    const forbidden = [":scheme", ":path", ":protocol", "content-length", "host"];
    assert.deepEqual(
      forbidden.filter((name) => name in seen),
      [],
    );
  });

  test("a peer that proves another identity gets nothing", async () => {
    let asked = 0;
    const counting = (): void => void (asked += 1);
    await withPeer({ account: "somebody-else" }, counting, async (port) => {
      assert.equal(await attempt(client.inside, port).ended(), "ECONNRESET");
      await client.access({ code: "IDENTITY_MISMATCH" });
      assert.equal(asked, 0);
    });
  });

  test("a peer that refuses our certificate is told at once, not after a deadline", async () => {
    const other = await testAuthority("cluster.local");
    await withPeer({ ca: other.bundlePem }, echoStream, async (port) => {
      const began = performance.now();
      assert.equal(await attempt(client.inside, port).ended(), "ECONNRESET");
      assert.ok(performance.now() - began < 2000, `it took ${performance.now() - began} ms`);
      // A reset may overtake the alert that says why.
      await until("the failure in the log", () =>
        client.log.find(
          ({ target, code }) => target === "access" && /^PEER_(TLS_FAILURE|PROTOCOL_ERROR)$/.test(String(code)),
        ),
      );
    });
  });

  for (const [status, code] of [
    [401, "PEER_DENIED"],
    [403, "PEER_DENIED"],
    [404, "PEER_NO_DESTINATION"],
    [400, "PEER_BAD_REQUEST"],
    [503, "PEER_UNAVAILABLE"],
    [500, "PEER_UNAVAILABLE"],
    [204, "PEER_PROTOCOL_ERROR"],
  ] as const) {
    test(`${status} is ${code}, and the app sees a reset`, async () => {
      await withPeer({}, answer(status), async (port) => {
        assert.equal(await attempt(client.inside, port).ended(), "ECONNRESET");
        await client.access({ code });
      });
    });
  }

  test("a stream that the peer resets in the middle is a reset, never an end", async () => {
    await withPeer({}, cutShort, async (port) => {
      const connection = await dial(client.inside, port);
      assert.equal(await connection.ended(), "ECONNRESET");
    });
  });

  test("a peer that ends whole after all was said is an end", async () => {
    await withPeer({}, sayAll, async (port) => {
      const { received, ended } = await converse(client.inside, port, "?");
      assert.equal(received.toString(), "all of it");
      assert.equal(ended, "end");
    });
  });

  test("more connections than the peer allows streams are spread over sessions, never over the limit", async () => {
    let most = 0;
    const open = new Map<unknown, number>();
    const counting = (stream: ServerHttp2Stream): void => {
      const { session } = stream;
      open.set(session, (open.get(session) ?? 0) + 1);
      most = Math.max(most, open.get(session) ?? 0);
      stream.on("close", () => open.set(session, (open.get(session) ?? 1) - 1));
      echoStream(stream);
    };
    await withPeer({ settings: { maxConcurrentStreams: 3 } }, counting, async (port) => {
      // The first tunnel learns the peer's limit.
      assert.equal((await converse(client.inside, port, "x")).ended, "end");
      const connections = await Promise.all(Array.from({ length: 20 }, () => dial(client.inside, port)));
      for (const connection of connections) connection.send("one");
      await Promise.all(connections.map((connection) => connection.bytes(3)));
      for (const connection of connections) connection.close();
      assert.ok(most <= 3, `${most} streams on one session`);
    });
  });

  test("a limit that is lowered at run time holds at once", async () => {
    let refused = 0;
    let lowered: unknown;
    let open = 0;
    const strict = (stream: ServerHttp2Stream): void => {
      if (lowered !== undefined && lowered === stream.session) {
        open += 1;
        stream.on("close", () => (open -= 1));
        // The stream from before the change is the first of two.
        if (open > 1) refused += 1;
      }
      echoStream(stream);
    };
    await withPeer({ settings: { maxConcurrentStreams: 50 } }, strict, async (port, peer) => {
      const first = await dial(client.inside, port);
      first.send("one");
      await first.bytes(3);
      const [session] = peer.sessions;
      assert.ok(session);
      await new Promise<void>((resolve) => session.settings({ maxConcurrentStreams: 2 }, () => resolve()));
      lowered = session;
      const connections = await Promise.all(Array.from({ length: 12 }, () => dial(client.inside, port)));
      for (const connection of connections) connection.send("two");
      await Promise.all(connections.map((connection) => connection.bytes(3)));
      for (const connection of [first, ...connections]) connection.close();
      assert.equal(refused, 0, "streams over the lowered limit");
    });
  });

  test("what the peer refuses before the answer is tried again", async () => {
    let refusals = 0;
    const refuseOnce = (stream: ServerHttp2Stream): void => {
      if (refusals === 0) {
        refusals += 1;
        resetStream(stream, NGHTTP2_REFUSED_STREAM);
      } else echoStream(stream);
    };
    await withPeer({}, refuseOnce, async (port) => {
      const { received } = await converse(client.inside, port, "again");
      assert.equal(received.toString(), "again");
      assert.equal(refusals, 1);
    });
  });

  test("a GOAWAY lets live tunnels finish and sends new ones to a new session", async () => {
    await withPeer({}, echoStream, async (port, peer) => {
      const live = await dial(client.inside, port);
      live.send("old");
      await live.bytes(3);
      const [first] = peer.sessions;
      first?.goaway(0);
      await until("a tunnel on another session", async () => {
        await converse(client.inside, port, "new");
        return peer.sessions.length > 1;
      });
      live.finish(" and whole");
      assert.equal(await live.ended(), "end");
      assert.equal(live.received.toString(), "old and whole");
    });
  });

  test("no byte is sent before the 200", async () => {
    const early: Buffer[] = [];
    const late = (stream: ServerHttp2Stream): void => {
      stream.on("data", (chunk: Buffer) => early.push(chunk));
      stream.session?.ping(() => {
        assert.equal(early.length, 0, "bytes before the answer");
        stream.removeAllListeners("data");
        echoStream(stream);
      });
    };
    await withPeer({}, late, async (port) => {
      const { received } = await converse(client.inside, port, "patient");
      assert.equal(received.toString(), "patient");
    });
  });
});
