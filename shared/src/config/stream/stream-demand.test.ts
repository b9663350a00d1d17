// What connections ask of the authority: once, with a deadline, no longer than it is used.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "@culvert/test/support/until.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Ip } from "../../net/ip.ts";
import type { ResourceSource } from "../resource-source.ts";
import type { Demanded } from "../snapshot.ts";
import { awayFailure, BAD, documents, fixture, LIMITS, opened, service, type Fixture } from "./stream-fixtures.ts";

const HOST = { kind: "name", host: "cart" } as const;

/** What comes of a demand; undefined at once when there is nothing to wait for. */
async function demanded(source: ResourceSource, destination: Demanded): Promise<Failure | undefined> {
  return source.demand?.(destination);
}

/** Asks for as many destinations as there may be, and has them all answered. */
async function filled({ authority }: Fixture, source: ResourceSource) {
  const [stream] = authority.streams;
  const hosts = Array.from(
    { length: LIMITS.maxSubscriptions },
    (_, index) => ({ kind: "name", host: `h${index}` }) as const,
  );
  const asked = hosts.map((host) => demanded(source, host));
  stream?.say({ answered: hosts.map(({ host }) => `host/${host}`) });
  await Promise.all(asked);
  return { stream, hosts };
}

describe("demand", () => {
  test("is one question for many who wait, and costs nothing once answered", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const [stream] = f.authority.streams;
    const waiting = [demanded(source, HOST), demanded(source, { kind: "name", host: "CART" }), demanded(source, HOST)];
    assert.equal(source.stream?.waiting, 1);
    await until("it is asked", () => stream?.wanted().length === 1);
    assert.deepEqual(stream?.wanted(), ["host/cart"]);
    stream?.say({ set: documents(service("cart", "10.1.0.1")), answered: ["host/cart"] });
    assert.deepEqual(await Promise.all(waiting), [undefined, undefined, undefined]);
    assert.equal(source.demand?.(HOST), undefined);
    // The cluster IP of a service that is known by name.
    assert.equal(source.demand?.({ kind: "ip", ip: "10.1.0.1" as Ip }), undefined);
    assert.ok(source.demand?.({ kind: "ip", ip: "10.1.0.2" as Ip }) instanceof Promise);
  });

  test("is not waited for longer than the limit; later it may be answered", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const [stream] = f.authority.streams;
    const asked = source.demand?.(HOST);
    f.clock.advance(LIMITS.configurationWaitMs);
    const failure = await asked;
    assert.equal(failure?.code, "CONFIGURATION_UNAVAILABLE");
    assert.match(failure?.detail ?? "", /host\/cart: the authority has not answered in 5000 ms/);
    const again = source.demand?.(HOST);
    stream?.say({ answered: ["host/cart"] });
    assert.equal(await again, undefined);
    await until("it is asked", () => stream?.wanted().length === 1);
  });

  test("fails at once when the answer is refused", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const [stream] = f.authority.streams;
    const asked = source.demand?.(HOST);
    stream?.say({ set: documents(BAD), answered: ["host/cart"] });
    assert.match((await asked)?.detail ?? "", /what the authority sends is refused: mesh.yaml:4: spec.ports/);
    assert.match((await source.demand?.(HOST))?.detail ?? "", /refused/);
    stream?.say({ set: documents(service("cart")), answered: ["host/cart"] });
    await until("it is answered", () => source.demand?.(HOST) === undefined);
  });

  test("forgets what nobody uses, never what is kept, and nothing while the authority is away", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const [stream] = f.authority.streams;
    const kept = { kind: "name", host: "kept" } as const;
    const stop = source.keep?.(() => [kept]);
    const asked = [demanded(source, HOST), demanded(source, kept)];
    stream?.say({ answered: ["host/cart", "host/kept"] });
    await Promise.all(asked);
    f.clock.advance(50_000);
    assert.equal(source.demand?.(HOST), undefined);
    f.clock.advance(100_000);
    assert.equal(source.stream?.subscriptions, 2);
    f.clock.advance(25_000);
    assert.equal(source.stream?.subscriptions, 1);
    await until("it is told", () => stream?.unwanted().length === 1);
    assert.deepEqual(stream?.unwanted(), ["host/cart"]);
    stop?.();
    f.authority.away = awayFailure();
    stream?.destroy();
    await until("it is lost", () => source.stream?.connected === false);
    f.clock.advance(10 * LIMITS.subscriptionIdleMs);
    assert.equal(source.stream?.subscriptions, 1);
  });

  test("is bounded: the one that was used least makes room, and what is in use does not", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const { stream, hosts } = await filled(f, source);
    const stop = source.keep?.(() => hosts);
    assert.match((await source.demand?.(HOST))?.detail ?? "", /8 destinations are asked for, and all are in use/);
    stop?.();
    f.clock.advance(25_000);
    for (const host of hosts.slice(1)) assert.equal(source.demand?.(host), undefined);
    const late = source.demand?.(HOST);
    await until("it is told", () => stream?.unwanted().length === 1);
    assert.deepEqual(stream?.unwanted(), ["host/h0"]);
    stream?.say({ answered: ["host/cart"] });
    assert.equal(await late, undefined);
  });

  test("is bounded: uses that follow one another closely have an order too", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const { stream, hosts } = await filled(f, source);
    for (const host of hosts.slice(0, 3)) assert.equal(source.demand?.(host), undefined);
    void source.demand?.(HOST);
    await until("it is told", () => stream?.unwanted().length === 1);
    assert.deepEqual(stream?.unwanted(), ["host/h3"]);
  });

  test("is not sent for what is no name", async (context) => {
    const f = fixture(context);
    const source = await opened(f);
    const failure = await source.demand?.({ kind: "name", host: "no name\n" });
    assert.match(failure?.detail ?? "", /is no name that the authority could be asked for/);
    assert.equal(source.stream?.subscriptions, 0);
  });
});
