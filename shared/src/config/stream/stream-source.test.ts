// The source against an authority that says what the test says.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { testAuthority } from "@culvert/test/support/ca.ts";
import { testIdentity } from "@culvert/test/support/identity.ts";
import { until } from "@culvert/test/support/until.ts";
import { routing } from "../routing/routing.ts";
import type { ResourceSource } from "../resource-source.ts";
import {
  awayFailure,
  BAD,
  documents,
  entry,
  fixture,
  keptProblems,
  opened,
  OWN,
  service,
  untilStream,
  update,
  type FakeStream,
} from "./stream-fixtures.ts";
import { FIRST_UPDATE_MS } from "./stream-call.ts";

const HOST = { kind: "name", host: "cart" } as const;

function names(source: ResourceSource): string[] {
  return [...source.get().directory.workloads()].map(({ name }) => name).toSorted();
}

describe("opening", () => {
  test("says who asks, takes the first update and acknowledges it", async (context) => {
    const f = fixture(context);
    const stream = await f.authority.stream(1);
    assert.deepEqual(stream.hello, {
      proxy: "uproxy",
      workload: "default/reviews-1",
      addresses: [],
      gateway: undefined,
      have: new Map(),
      subscribe: [],
    });
    const nonce = stream.say({ set: documents(entry("a")) });
    const source = await f.opening;
    assert.deepEqual(names(source), ["a"]);
    assert.equal((await stream.outcome(nonce)).kind, "ack");
    assert.deepEqual(
      f.events.map(({ kind }) => kind),
      ["swapped"],
    );
    assert.deepEqual(f.connection, ["connected"]);
    assert.deepEqual(source.stream, {
      connected: true,
      version: "v1",
      documents: 1,
      subscriptions: 0,
      waiting: 0,
      applied: 1,
      refused: 0,
      connects: 1,
      problems: [],
    });
    assert.deepEqual(f.authority.shown, [OWN.svid.id]);
  });

  test("an update of no documents is a mesh of none", async (context) => {
    const f = fixture(context);
    (await f.authority.stream(1)).say({});
    assert.deepEqual(names(await f.opening), []);
  });

  test("gives up a stream on which no update comes, and asks again", async (context) => {
    const f = fixture(context);
    const silent = await f.authority.stream(1);
    await until("the hello", () => silent.frames.length === 1);
    f.clock.advance(FIRST_UPDATE_MS);
    await until("it is told", () => f.connection.length > 0);
    assert.match(f.connection[0] ?? "", /authority:15012: no update within 300 s/);
    (await untilStream(f, 2)).say({ set: documents(entry("a")) });
    assert.deepEqual(names(await f.opening), ["a"]);
  });

  test("waits for an authority, says for what, and asks again with patience", async (context) => {
    const f = fixture(context);
    f.authority.away = awayFailure();
    await until("it is told", () => f.connection.length > 0);
    assert.deepEqual(f.connection, [f.waiting.at(-1)]);
    assert.match(f.waiting.at(-1) ?? "", /authority:15012: connection refused/);
    f.clock.advance(30_000);
    await until("it is said again", () => f.waiting.length > 2);
    assert.equal(f.connection.length, 1);
    f.authority.away = undefined;
    await untilStream(f, 1);
    const source = await opened(f);
    assert.deepEqual(f.connection.slice(1), ["connected"]);
    source.close();
    assert.equal(f.clock.pending, 0);
  });

  test("refuses a first update with an error, and takes the next", async (context) => {
    const f = fixture(context);
    const stream = await f.authority.stream(1);
    const outcome = await stream.outcome(stream.say({ set: documents(BAD) }));
    assert.equal(outcome.kind, "nack");
    assert.match(f.waiting.at(-1) ?? "", /refused: mesh.yaml:4: spec.ports\[0\].port/);
    stream.say({ set: documents(entry("a")) });
    assert.deepEqual(names(await f.opening), ["a"]);
  });
});

describe("updates", () => {
  test("parts are one state: nothing is seen before the last", async (context) => {
    const f = fixture(context);
    const stream = await f.authority.stream(1);
    stream.say({ set: documents(entry("a")), more: true });
    stream.say({ set: documents(entry("b", "10.0.0.2")), more: true });
    stream.say({});
    const source = await f.opening;
    assert.deepEqual(names(source), ["a", "b"]);
    assert.equal(source.get().version, 1);
    const nonce = stream.say({ set: documents(entry("c", "10.0.0.3")), removed: ["WorkloadEntry default/a"] });
    await stream.outcome(nonce);
    assert.deepEqual(names(source), ["b", "c"]);
  });

  test("an error refuses all of it: the last good state stays, and the field is named", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const [stream] = f.authority.streams;
    assert.ok(stream !== undefined);
    const set = new Map([...documents(BAD, "bad.yaml"), ...documents(entry("b"))]);
    const outcome = await stream.outcome(stream.say({ set }));
    assert.ok(outcome.kind === "nack");
    assert.deepEqual(
      outcome.problems.map(({ resource, path }) => [resource, path]),
      [["Service default/bad", "spec.ports[0].port"]],
    );
    assert.match(outcome.problems[0]?.text ?? "", /expected/);
    assert.deepEqual(names(source), ["a"]);
    assert.equal(keptProblems(f.events).length, 1);
    assert.equal(source.stream?.refused, 1);
    assert.deepEqual(
      source.stream.problems.map(({ file, line, resource, path }) => [file, line, resource, path]),
      [["bad.yaml", 4, "Service default/bad", "spec.ports[0].port"]],
    );
    // The same again is no news; what is good then counts, even if it is what was there before.
    await stream.outcome(stream.say({ set }));
    assert.equal(keptProblems(f.events).length, 1);
    const { version } = source.get();
    await stream.outcome(stream.say({}));
    assert.equal(source.get().version, version + 1);
    assert.deepEqual(names(source), ["a"]);
    assert.deepEqual(source.stream?.problems, []);
  });

  test("two of one name, and a document under another's id, are refused", async (context) => {
    const f = fixture(context);
    await opened(f);
    const [stream] = f.authority.streams;
    assert.ok(stream !== undefined);
    const [document] = documents(entry("b")).values();
    assert.ok(document !== undefined);
    const outcome = await stream.outcome(stream.say({ set: new Map([["WorkloadEntry default/x", document]]) }));
    assert.ok(outcome.kind === "nack");
    assert.deepEqual(outcome.problems, [
      {
        resource: "WorkloadEntry default/x",
        path: "metadata",
        text: "expected WorkloadEntry default/x, as it was sent, found WorkloadEntry default/b",
      },
    ]);
    const vips = documents(`${service("x", "10.1.0.1")}---\n${service("y", "10.1.0.1")}`);
    assert.equal((await stream.outcome(stream.say({ set: vips }))).kind, "nack");
  });

  test("what is passed over in a uproxy is read in a waypoint", async (context) => {
    const route =
      "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {parentRefs: [{group: '', kind: Service, name: cart}]}\n";
    for (const given of [undefined, routing]) {
      const f = fixture(context, given === undefined ? {} : { routing: given });
      (await f.authority.stream(1)).say({ set: documents(`${route}---\n${service("cart")}`) });
      assert.equal((await f.opening).get().routes.length, given === undefined ? 0 : 1);
    }
  });

  test("the newest of a hundred states counts, each whole", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const [stream] = f.authority.streams;
    assert.ok(stream !== undefined);
    const seen: string[] = [];
    source.onChange(({ directory }) => seen.push([...directory.workloads()].map(({ addresses }) => addresses).join()));
    for (let number = 2; number <= 100; number += 1) {
      const pair = `${entry("a", `10.0.0.${number}`)}---\n${entry("b", `10.0.0.${number}`)}`;
      await stream.outcome(stream.say({ set: documents(pair) }));
    }
    assert.equal(seen.length, 99);
    for (const [index, addresses] of seen.entries()) {
      assert.equal(addresses, `10.0.0.${index + 2},10.0.0.${index + 2}`);
    }
  });
});

const BREAKS: readonly (readonly [string, (stream: FakeStream) => void, RegExp])[] = [
  ["no message at all", (stream) => stream.raw(Buffer.from([0xc1])), /unfit message/],
  [
    "an update before the last was acknowledged",
    (stream) => stream.raw(update(7, { set: documents(entry("x")) }), update(8, { set: documents(entry("y")) })),
    /update 8 before 7 was acknowledged/,
  ],
  [
    "a part of another update",
    (stream) => {
      stream.say({ nonce: 7, more: true });
      stream.say({ nonce: 9 });
    },
    /a part of update 9 within 7/,
  ],
  ["an update that is older", (stream) => stream.say({ nonce: 1 }), /update 1 after 1/],
  ["a message that is too long", (stream) => stream.raw(Buffer.alloc(3 * 1024 * 1024)), /RESOURCE_EXHAUSTED/],
];

for (const [what, breaks, why] of BREAKS) {
  test(`what breaks the rules ends the stream, and it begins anew: ${what}`, async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const [stream] = f.authority.streams;
    assert.ok(stream !== undefined);
    await stream.outcome(1);
    breaks(stream);
    await until("it is told", () => f.connection.length === 2);
    assert.match(f.connection[1] ?? "", why);
    const second = await untilStream(f, 2);
    await second.outcome(second.say({ set: documents(entry("b", "10.0.0.2")) }));
    assert.ok(names(source).includes("b"));
  });
}

describe("the way to the authority", () => {
  test("a stream that is lost begins anew with what is held, and gets the difference", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const asked = source.demand?.(HOST);
    const [first] = f.authority.streams;
    await until("it is asked", () => first?.wanted().length === 1);
    first?.say({ set: documents(`${service("cart")}---\n${entry("cart", "10.0.0.7")}`), answered: ["host/cart"] });
    assert.equal(await asked, undefined);
    f.authority.away = awayFailure();
    first?.destroy();
    await until("it is lost", () => f.connection.length === 2);
    assert.deepEqual(names(source), ["a", "cart"]);
    assert.equal(source.demand?.(HOST), undefined);
    assert.equal(source.stream?.connected, false);
    const lostAt = f.clock.now();
    f.clock.advance(40_000);
    assert.equal(source.asOf, lostAt);
    f.authority.away = undefined;
    const second = await untilStream(f, 2);
    assert.deepEqual([...second.hello.have.keys()].toSorted(), [
      "Service default/cart",
      "WorkloadEntry default/a",
      "WorkloadEntry default/cart",
    ]);
    assert.deepEqual(second.hello.subscribe, ["host/cart"]);
    const { version } = source.get();
    await second.outcome(second.say({ removed: ["WorkloadEntry default/a"] }));
    assert.deepEqual(names(source), ["cart"]);
    assert.equal(source.get().version, version + 1);
    assert.equal(source.asOf, f.clock.now());
    assert.equal(f.connection.at(-1), "connected");
  });

  test("waits longer after each failure, and never longer than its bound", async (context) => {
    const f = fixture(context);
    f.authority.away = awayFailure();
    await until("the first try", () => f.waiting.length === 2);
    const waits: number[] = [];
    for (let count = 3; count < 12; count += 1) {
      let waited = 0;
      while (f.waiting.length < count) {
        f.clock.advance(250);
        waited += 250;
        await new Promise((resolve) => setImmediate(resolve));
      }
      waits.push(waited);
    }
    assert.ok((waits[0] ?? 0) <= 1_250, waits.join());
    assert.ok(Math.max(...waits) <= 30_500 && Math.max(...waits) >= 14_000, waits.join());
  });

  test("a certificate that is replaced begins another stream at once; the snapshot stays", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const { version } = source.get();
    f.identity.replace(await testIdentity(await testAuthority("cluster.local"), "default", "reviews"));
    const second = await f.authority.stream(2);
    assert.deepEqual([...second.hello.have.keys()], ["WorkloadEntry default/a"]);
    assert.equal(source.get().version, version);
    await second.outcome(second.say({}));
    assert.deepEqual(f.connection, ["connected"]);
    assert.equal(f.authority.shown.length, 2);
  });

  test("SIGHUP asks anew, and is done with the answer or without one", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    let reloaded = source.reload();
    (await f.authority.stream(2)).say({ set: documents(entry("b", "10.0.0.2")) });
    await reloaded;
    assert.deepEqual(names(source), ["a", "b"]);
    f.authority.away = awayFailure();
    reloaded = source.reload();
    await reloaded;
    assert.match(f.connection.at(-1) ?? "", /refused/);
    f.authority.away = undefined;
    reloaded = source.reload();
    (await f.authority.stream(3)).say({});
    await reloaded;
  });

  test("an authority that ends the stream with a status is quoted", async (context) => {
    const f = fixture(context);
    await opened(f);
    const [stream] = f.authority.streams;
    stream?.end(7, "no Gateway has this identity");
    await until("it is told", () => f.connection.length === 2);
    assert.match(f.connection[1] ?? "", /PERMISSION_DENIED: no Gateway has this identity/);
  });
});
