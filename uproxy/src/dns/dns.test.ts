// The DNS proxy on real sockets: what passes, what does not, and what becomes of it when resolvers are slow, gone or not who
// they say.
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { describe, test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { ip } from "@culvert/test/support/fixtures.ts";
import { until } from "@culvert/test/support/until.ts";
import { query, readAnswer, replyTo } from "./dns-fixtures.ts";
import { frame } from "./frames.ts";
import { echo, lab, resolver, start, tcpClient, value, type Behaviour } from "./lab-fixtures.ts";

test("answers for the mesh and asks nobody", async (context) => {
  const upstream = await resolver(context, echo);
  const { ask, metrics } = await lab(context, [upstream]);
  assert.deepEqual(readAnswer(await ask(query("reviews"))).addresses, ["10.96.0.1"]);
  const none = readAnswer(await ask(query("reviews.default.svc.cluster.local", { type: 28 })));
  assert.deepEqual([none.rcode, none.authoritative, none.addresses], [0, true, []]);
  assert.deepEqual(readAnswer(await ask(query("db-0.db"))).addresses, ["10.0.0.1"]);
  assert.equal(readAnswer(await ask(query("reviews", { udpBytes: 1232, ednsVersion: 1 }))).rcode, 16);
  assert.equal(readAnswer(await ask(query("a").subarray(0, 15))).rcode, 1);
  assert.equal(upstream.asked.length, 0);
  assert.equal(value(metrics, "istio_dns_requests_total"), 4);
  assert.equal(value(metrics, "istio_dns_upstream_requests_total"), 0);
});

test("by IPv6, and on both loopbacks at once", async (context) => {
  const six = await lab(context, [], { host: "::1" });
  assert.deepEqual(readAnswer(await six.ask(query("reviews"))).addresses, ["10.96.0.1"]);
  const both = await lab(context, [], { host: "localhost" });
  assert.deepEqual(readAnswer(await both.ask(query("reviews"))).addresses, ["10.96.0.1"]);
});

describe("what is not ours passes as it is, but for its id", () => {
  const rows: [string, Buffer][] = [
    ["a service record of a mesh name", query("_http._tcp.reviews", { type: 33 })],
    ["another type of a mesh name", query("reviews", { type: 65 })],
    ["a type that nobody knows", query("example.com", { type: 65_280, class: 1 })],
    ["options of EDNS", query("example.com", { udpBytes: 4096, options: Buffer.from([0, 10, 0, 2, 1, 2]) })],
    [
      "an update",
      query("default.svc.cluster.local", {
        flags: 0x2800,
        type: 6,
        counts: [1, 0, 1, 0],
        tail: Buffer.from("anything"),
      }),
    ],
    ["no question at all", query("x", { counts: [0, 0, 0, 0] })],
    ["another class", query("reviews", { class: 3 })],
    [
      "a signed question for a mesh name",
      query("reviews", { counts: [1, 0, 0, 1], tail: Buffer.from([0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]) }),
    ],
  ];
  for (const [name, asked] of rows) {
    test(name, async (context) => {
      const answer = Buffer.concat([
        asked.subarray(0, 2),
        Buffer.from([0x80 | (asked[2] ?? 0), 0x80]),
        asked.subarray(4),
        Buffer.from("tail"),
      ]);
      const upstream = await resolver(context, (got, reply) =>
        reply(Buffer.concat([got.subarray(0, 2), answer.subarray(2)])),
      );
      const { ask, port } = await lab(context, [upstream]);
      assert.deepEqual(await ask(asked), answer);
      assert.deepEqual(upstream.asked[0]?.subarray(2), asked.subarray(2));
      const client = await tcpClient(context, port);
      client.socket.write(frame(asked));
      assert.deepEqual(await client.next(), answer);
      assert.deepEqual(upstream.asked[1], asked);
    });
  }
});

test("ids and ports differ from request to request", async (context) => {
  const ids = new Set<number>();
  const ports = new Set<number>();
  const upstream = await resolver(context, (asked, reply, from) => {
    ids.add(asked.readUInt16BE(0));
    if ("port" in from) ports.add(from.port);
    reply(replyTo(asked));
  });
  const { ask } = await lab(context, [upstream]);
  for (let index = 0; index < 20; index += 1) await ask(query("example.com", { id: 5 }));
  assert.ok(ids.size > 15, `${ids.size} ids`);
  assert.ok(ports.size > 10, `${ports.size} ports`);
});

test("what a resolver says for a while is asked once", async (context) => {
  const upstream = await resolver(context, (asked, reply) => {
    reply(replyTo(asked, { answers: [{ type: 1, ttl: 60, data: Buffer.from([192, 0, 2, 1]) }] }));
  });
  const { ask, metrics } = await lab(context, [upstream]);
  for (let index = 0; index < 5; index += 1) {
    assert.deepEqual(readAnswer(await ask(query("example.com", { id: index }))), {
      id: index,
      rcode: 0,
      authoritative: false,
      truncated: false,
      addresses: ["192.0.2.1"],
      hasEdns: false,
    });
  }
  assert.equal(upstream.asked.length, 1);
  assert.equal(value(metrics, "culvert_dns_cached_total"), 4);
});

const declining: Behaviour = (asked, reply) => reply(replyTo(asked, { flags: 0x8185 }));

describe("resolvers that do not answer as they should", () => {
  const dead = { ip: ip("127.0.0.1"), port: 1 };

  test("one that is gone: the next, and then that one first", async (context) => {
    const upstream = await resolver(context, echo);
    const { ask } = await lab(context, [dead, upstream]);
    for (let index = 0; index < 3; index += 1) assert.equal(readAnswer(await ask(query("example.com"))).rcode, 0);
    assert.equal(upstream.asked.length, 3);
  });

  test("one that declines: the next; all: what the last one said", async (context) => {
    const [first, second] = [await resolver(context, declining), await resolver(context, echo)];
    const { ask } = await lab(context, [first, second]);
    assert.equal(readAnswer(await ask(query("example.com"))).rcode, 0);
    const alone = await lab(context, [first]);
    assert.equal(readAnswer(await alone.ask(query("example.com"))).rcode, 5);
  });

  test("silence is answered in time with its reason, and an update is sent no more than once", async (context) => {
    const clock = new FakeClock();
    const upstream = await resolver(context, () => undefined);
    const { ask, metrics } = await lab(context, [upstream], { clock });
    const answer = ask(query("example.com", { udpBytes: 1232 }));
    for (let tries = 1; tries <= 3; tries += 1) {
      await until(`try ${tries}`, () => upstream.asked.length === tries);
      clock.advance(1_500);
    }
    const reply = await answer;
    assert.equal(readAnswer(reply).rcode, 2);
    assert.match(reply.toString("latin1"), /no answer in 1500 ms/);
    assert.equal(value(metrics, "istio_dns_upstream_failures_total"), 1);

    const update = ask(query("zone", { flags: 0x2800, type: 6 }));
    await until("the update", () => upstream.asked.length === 4);
    clock.advance(1_500);
    assert.equal(readAnswer(await update).rcode, 2);
    assert.equal(upstream.asked.length, 4);
  });

  test("answers to other questions are passed over, and many of them end the try", async (context) => {
    const { ask } = await lab(context, [
      await resolver(context, (asked, reply) => {
        for (let guess = 1; guess <= 3; guess += 1) {
          const wrong = replyTo(asked);
          wrong.writeUInt16BE((asked.readUInt16BE(0) + guess) & 0xffff, 0);
          reply(wrong);
        }
        reply(replyTo(query("evil.com", { id: asked.readUInt16BE(0) })));
        reply(replyTo(asked, { answers: [{ type: 1, ttl: 0, data: Buffer.from([192, 0, 2, 1]) }] }));
      }),
    ]);
    assert.deepEqual(readAnswer(await ask(query("example.com"))).addresses, ["192.0.2.1"]);

    const guessing = await resolver(context, (asked, reply) => {
      for (let guess = 0; guess < 20; guess += 1) reply(replyTo(query(`x${guess}.com`, { id: asked.readUInt16BE(0) })));
    });
    const guessed = await lab(context, [guessing, await resolver(context, echo)]);
    assert.equal(readAnswer(await guessed.ask(query("example.com"))).rcode, 0);
    assert.equal(guessing.asked.length, 1);
  });

  test("a datagram of anybody but the resolver is not even seen", async (context) => {
    const stranger = createSocket("udp4");
    context.after(() => stranger.close());
    stranger.bind(0, "127.0.0.1");
    await once(stranger, "listening");
    const upstream = await resolver(context, (asked, reply, from) => {
      if (!("port" in from) || typeof from.port !== "number") return;
      const forged = replyTo(asked, { answers: [{ type: 1, ttl: 60, data: Buffer.from([6, 6, 6, 6]) }] });
      stranger.send(forged, from.port, "127.0.0.1", () => reply(replyTo(asked)));
    });
    const { ask } = await lab(context, [upstream]);
    assert.deepEqual(readAnswer(await ask(query("example.com"))).addresses, []);
  });

  test("nobody to ask: an error with its reason", async (context) => {
    const { ask, lines } = await lab(context, []);
    const reply = await ask(query("example.com", { udpBytes: 512 }));
    assert.equal(readAnswer(reply).rcode, 2);
    assert.match(reply.toString("latin1"), /no resolver is configured/);
    assert.ok(lines.some((line) => line.includes('"level":"warn"') && line.includes("no resolver")));
  });

  test("what was last known serves: of a workload's host name, and of an answer whose time is over", async (context) => {
    const clock = new FakeClock();
    let isUp = true;
    const upstream = await resolver(context, (asked, reply) => {
      if (isUp) reply(replyTo(asked, { answers: [{ type: 1, ttl: 10, data: Buffer.from([192, 0, 2, 1]) }] }));
      else reply(replyTo(query("x", { id: 0 })));
    });
    const { ask } = await lab(context, [upstream], { clock });
    await ask(query("example.com"));
    isUp = false;
    clock.advance(20_000);
    const asking = (name: string): Promise<Buffer> => {
      const answer = ask(query(name));
      const ticking = setImmediate(function tick(): void {
        clock.advance(500);
        void answer.finally(() => (isDone = true));
        if (!isDone) setImmediate(tick);
      });
      let isDone = false;
      context.after(() => clearImmediate(ticking));
      return answer;
    };
    assert.deepEqual(readAnswer(await asking("example.com")).addresses, ["192.0.2.1"]);
    assert.deepEqual(readAnswer(await asking("named.example")).addresses, ["10.0.0.7"]);
    assert.equal(readAnswer(await asking("never.example")).rcode, 2);
  });
});

test("another process may not share the port by accident; when this one leaves, it answers what it owes first", async (context) => {
  let answer: (() => void) | undefined;
  const upstream = await resolver(context, (asked, reply) => (answer = () => reply(replyTo(asked))));
  const { ask, port, dns } = await lab(context, [upstream]);
  const second = await start([upstream], { port });
  assert.ok(isFailure(second) && second.code === "PORT_UNAVAILABLE", "the port is taken");
  const owed = ask(query("example.com"));
  await until("the request", () => answer !== undefined);
  dns.stopAccepting();
  answer?.();
  assert.equal(readAnswer(await owed).rcode, 0);
  const next = await until("the port", async () => {
    const started = await start([upstream], { port });
    return isFailure(started) ? undefined : started;
  });
  context.after(() => next.dns.close());
  assert.deepEqual(readAnswer(await ask(query("reviews"))).addresses, ["10.96.0.1"]);
});
