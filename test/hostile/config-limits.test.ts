// Hostile clients of the configuration stream, each with an identity of the mesh, over the authority's real port: what each takes is
// bounded, it is told why it is ended, the others are served all the while, and nothing of it is left. On a clock that is moved.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AUTHORITY_LIMITS } from "@culvert/authority/authority-limits.ts";
import { FRAME_LIMITS, type Hello } from "@culvert/shared/config/stream/frames.ts";
import { ConfigTestClient } from "../support/config-client.ts";
import { configPort, service, workload, type ConfigPort } from "../support/config-port.ts";
import { until, within } from "../support/until.ts";

const KIB = 1024;
/** Statuses of gRPC. */
const [INVALID_ARGUMENT, RESOURCE_EXHAUSTED] = [3, 8];

const WEB: Partial<Hello> = { addresses: ["10.0.0.1"] };

/** The beginning of a message, and so many bytes of it. */
function begun(length: number, bytes: number): Buffer {
  const part = Buffer.alloc(5 + bytes);
  part.writeUInt32BE(length, 1);
  return part;
}

/** How a client has ended. */
async function end(client: ConfigTestClient): Promise<readonly [number, string]> {
  const { status, message } = await within("the end of a client", client.ended);
  return [status, message];
}

/** Lets the time pass until a client has ended. */
async function endInTime({ clock }: ConfigPort, client: ConfigTestClient): Promise<readonly [number, string]> {
  let ended: readonly [number, string] | undefined;
  void end(client).then((how) => (ended = how));
  return until("the end of a client", () => {
    clock.advance(1_000);
    return ended;
  });
}

/** Keys of that many destinations. */
function keys(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `host/h${from + index}.test`);
}

/** A client that is well, before and after. */
async function honest(here: ConfigPort, account = "cart"): Promise<() => Promise<void>> {
  const client = new ConfigTestClient(await here.session(account), { addresses: ["10.0.0.2"] });
  assert.deepEqual(await client.ids(), ["Service default/cart", "WorkloadEntry default/cart"]);
  return async () => {
    const updates = client.updates.length;
    client.say({ kind: "subscribe", subscribe: ["host/web"], unsubscribe: [] });
    assert.equal((await client.ids(updates + 1)).includes("Service default/web"), true);
    client.close();
    const late = new ConfigTestClient(await here.session(account), { addresses: ["10.0.0.2"] });
    assert.equal((await late.ids()).length, 2);
    late.close();
  };
}

test("messages as fast as they can be written end the one who writes them", async (context) => {
  const here = await configPort(context);
  const others = await honest(here);
  const session = await here.session("web");
  const busy = new ConfigTestClient(session, WEB);
  await busy.ids();
  const nothing = { kind: "subscribe", subscribe: [], unsubscribe: ["host/x"] } as const;
  // The hello and the answer to its update are two of them.
  for (let sent = 3; sent < AUTHORITY_LIMITS.messageBurst; sent += 1) busy.say(nothing);
  busy.say({ kind: "subscribe", subscribe: ["host/cart"], unsubscribe: [] });
  assert.equal((await busy.ids(2)).includes("Service default/cart"), true);
  assert.deepEqual(await end(busy), [RESOURCE_EXHAUSTED, "messages come too often"]);

  // Of these four are a hello, a subscription and two answers.
  const patient = new ConfigTestClient(session, WEB);
  await patient.ids();
  for (let sent = 4; sent < AUTHORITY_LIMITS.messageBurst; sent += 1) patient.say(nothing);
  patient.say({ kind: "subscribe", subscribe: ["host/x"], unsubscribe: [] });
  await patient.ids(2);
  here.clock.advance(2_000);
  for (let sent = 2; sent < 2 * AUTHORITY_LIMITS.messagesPerSecond; sent += 1) patient.say(nothing);
  patient.say({ kind: "subscribe", subscribe: ["host/cart"], unsubscribe: [] });
  assert.equal((await patient.ids(3)).includes("Service default/cart"), true);
  patient.close();
  await others();
  await here.empty();
});

test("a message that has begun comes to its end in time, the first one and any later one", async (context) => {
  const here = await configPort(context);
  const others = await honest(here);
  const session = await here.session("web");
  const client = new ConfigTestClient(session, WEB);
  await client.ids();
  client.raw(begun(1_000, 10));
  await until("its beginning to be read", () => here.streams.begunBytes > 0);
  assert.deepEqual(await endInTime(here, client), [INVALID_ARGUMENT, "no whole message in 10 s"]);
  assert.equal(here.streams.begunBytes, 0);

  // One that comes in time takes the deadline with it.
  const slow = new ConfigTestClient(session, WEB);
  await slow.ids();
  const message = begun(4, 4);
  slow.raw(message.subarray(0, 6));
  await until("its beginning to be read", () => here.streams.begunBytes > 0);
  here.clock.advance(9_000);
  slow.raw(message.subarray(6));
  assert.equal((await end(slow))[0], INVALID_ARGUMENT);
  await others();
  await here.empty();
});

test("who holds the most of messages that have begun is the one to go", async (context) => {
  const here = await configPort(context, { maxHeldBytes: 256 * KIB });
  const others = await honest(here);
  const hoarder = await here.session("web");
  const parts = 60 * KIB;
  const hoard = Array.from({ length: 4 }, () => {
    const client = new ConfigTestClient(hoarder, WEB);
    client.raw(begun(FRAME_LIMITS.clientBytes, parts));
    return client;
  });
  await until("what they hold", () => here.streams.begunBytes >= hoard.length * parts);
  // Of another account: more than what is left.
  const have = new Map(Array.from({ length: 700 }, (_, index) => [`Service default/s${index}`, "0123456789abcdef"]));
  const client = new ConfigTestClient(await here.session("cart"), { addresses: ["10.0.0.2"], have });
  assert.equal((await client.ids()).length, 2);
  assert.deepEqual(await Promise.race(hoard.map(end)), [RESOURCE_EXHAUSTED, "large messages"]);
  client.close();
  for (const each of hoard) each.close();
  await until("nothing to be held", () => here.streams.begunBytes === 0);
  await others();
  await here.empty();
});

test("one identity has a share of the streams, however few sessions it needs for them", async (context) => {
  const here = await configPort(context, { maxSessionsPerCaller: 4 });
  const others = await honest(here);
  const session = await here.session("web");
  const clients = Array.from({ length: 6 }, () => new ConfigTestClient(session, WEB));
  const [first, ...more] = clients;
  assert.ok(first !== undefined);
  const refused = await Promise.all(clients.slice(4).map(end));
  assert.deepEqual(new Set(refused.map(([status]) => status)), new Set([RESOURCE_EXHAUSTED]));
  assert.match(refused[0]?.[1] ?? "", /^4 streams of spiffe:\/\/cluster\.local\/ns\/default\/sa\/web$/);
  await first.ids();
  first.close();
  await until("it to be gone", () => here.streams.size === 4);
  const next = new ConfigTestClient(session, WEB);
  await next.ids();
  for (const each of [next, ...more]) each.close();
  await others();
  await here.empty();
});

test("an update without an answer ends its client, and costs no more than that update until then", async (context) => {
  const here = await configPort(context);
  const others = await honest(here);
  const silent = new ConfigTestClient(await here.session("web"), WEB, ["host/cart"]);
  silent.isWilling = false;
  await silent.ids();
  for (let number = 3; number < 50; number += 1) {
    await here.change(
      workload("web", `10.0.0.${number}`) + service("web") + workload("cart", "10.0.0.2") + service("cart"),
    );
  }
  assert.equal(silent.updates.length, 1);
  assert.deepEqual(await endInTime(here, silent), [RESOURCE_EXHAUSTED, "an update has had no answer for 60 s"]);
  assert.equal(here.streams.size, 1);
  await others();
  await here.empty();
});

test("an answer to an update that has not been sent yet is none", async (context) => {
  const here = await configPort(context);
  const others = await honest(here);
  const filler = "x".repeat(1_000);
  const text = (round: number): string => {
    const carts = Array.from({ length: 150 }, (_, index) =>
      workload(`cart-${index}`, `10.1.${round}.${index & 255}`)
        .replace("metadata: {", `metadata: {annotations: {filler: ${filler}}, `)
        .replace(/app: cart-\d+/, "app: cart"),
    );
    return [workload("web", "10.0.0.1"), service("web"), workload("cart", "10.0.0.2"), service("cart"), ...carts].join(
      "",
    );
  };
  await here.change(text(1));
  const session = await here.session("web");
  const blind = new ConfigTestClient(session, WEB, ["host/cart"]);
  blind.isWilling = false;
  blind.pause();
  await until("it to be there", () => here.streams.size === 2);
  for (const nonce of [1, 2, 3]) {
    blind.say({ kind: "ack", nonce });
    await here.change(text(nonce + 1));
  }
  // What it does not read holds up the word of its end, for a while.
  await until("it to be gone", () => {
    here.clock.advance(1_000);
    return here.streams.size === 1;
  });
  assert.match(here.refused.at(-1)?.detail ?? "", /expected an answer to what has been sent whole, found ack/);
  blind.close();
  await others();
  await here.empty();
});

test("subscriptions: so many of one client, so many of a namespace, and no more of them than come in time", async (context) => {
  const here = await configPort(context, {
    maxSubscriptions: 8,
    subscriptionBurst: 12,
    maxScopes: 40,
    maxScopesPerNamespace: 16,
  });
  const others = await honest(here);
  const session = await here.session("web");
  const asked = (from: number, count: number): ConfigTestClient =>
    new ConfigTestClient(session, WEB, keys(from, count));

  const full = asked(0, 8);
  await until("all to be answered", () => full.answered.size === 8);
  full.say({ kind: "subscribe", subscribe: keys(8, 1), unsubscribe: [] });
  assert.deepEqual(await end(full), [RESOURCE_EXHAUSTED, "8 subscriptions"]);

  const hasty = asked(0, 8);
  await until("all to be answered", () => hasty.answered.size === 8);
  hasty.say({ kind: "subscribe", subscribe: keys(8, 5), unsubscribe: keys(0, 8) });
  assert.deepEqual(await end(hasty), [RESOURCE_EXHAUSTED, "subscriptions come too often"]);
  const calm = asked(0, 8);
  await until("all to be answered", () => calm.answered.size === 8);
  here.clock.advance(1_000);
  calm.say({ kind: "subscribe", subscribe: keys(8, 5), unsubscribe: keys(0, 8) });
  await until("all to be answered", () => calm.answered.size === 13);
  calm.close();
  await until("it to be gone", () => here.streams.size === 1);

  // Three scopes of the namespace are there already: what each of the two is told of itself, and one destination.
  const greedy = asked(100, 8);
  await until("all to be answered", () => greedy.answered.size === 8);
  const more = asked(200, 8);
  assert.deepEqual(await end(more), [RESOURCE_EXHAUSTED, "16 destinations of default"]);
  // What somebody of the namespace has asked for already costs nothing.
  const same = asked(100, 8);
  await until("all to be answered", () => same.answered.size === 8);
  for (const each of [greedy, same]) each.close();
  await until("they to be gone", () => here.streams.size === 1);
  await others();
  await here.empty();
});

test("sizes: a message, a hello and a key that are too long are refused before anything is held of them", async (context) => {
  const here = await configPort(context);
  const others = await honest(here);
  const session = await here.session("web");
  const large = new ConfigTestClient(session, WEB);
  await large.ids();
  large.raw(begun(FRAME_LIMITS.clientBytes + 1, 0));
  assert.deepEqual(await end(large), [INVALID_ARGUMENT, "a message of 8388609 bytes, 8388608 are taken"]);
  const long = new ConfigTestClient(session, WEB, [`host/${"x".repeat(FRAME_LIMITS.keyLength)}`]);
  assert.deepEqual(await end(long), [
    INVALID_ARGUMENT,
    "subscribe: expected at most 10000 keys, such as host/shop.example",
  ]);
  const many = new ConfigTestClient(session, {
    addresses: Array.from({ length: 17 }, (_, index) => `10.0.1.${index}`),
  });
  assert.deepEqual(await end(many), [INVALID_ARGUMENT, "hello.addresses: expected at most 16 addresses"]);
  assert.equal(here.streams.begunBytes, 0);
  await others();
  await here.empty();
});

test("a client that says nothing is ended, and one that goes in the middle leaves nothing", async (context) => {
  const here = await configPort(context);
  const others = await honest(here);
  const session = await here.session("web");
  const mute = new ConfigTestClient(session, "none");
  await until("it to be there", () => here.streams.open === 2);
  assert.deepEqual(await endInTime(here, mute), [INVALID_ARGUMENT, "no whole message in 10 s"]);
  const gone = new ConfigTestClient(session, WEB, ["host/cart"]);
  await gone.ids();
  gone.raw(begun(1_000, 100));
  await until("its beginning to be read", () => here.streams.begunBytes > 0);
  session.destroy();
  await until("nothing to be held", () => here.streams.begunBytes === 0);
  await others();
  await here.empty();
});
