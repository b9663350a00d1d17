import assert from "node:assert/strict";
import { test } from "node:test";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { FakeChannel } from "../channel-fixtures.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type { Endpoint } from "../exchange-services.ts";
import type { UpstreamRequest } from "../http/message.ts";
import { AgreedConnections, type VersionPool } from "./agreed-connections.ts";

const ENDPOINT: Endpoint = { key: "k", address: "192.0.2.1:443", speaks: "alpn" };
const ME = {};

class AgreedChannel extends FakeChannel {
  readonly alpn: string | undefined;
  constructor(alpn: string | undefined) {
    super();
    this.alpn = alpn;
  }
}

/** Opens a connection for each request; what it gives back names itself. */
class Pool implements VersionPool {
  opened = 0;
  dials = 0;
  full = false;
  readonly #name: string;
  constructor(name: string) {
    this.#name = name;
  }
  take(): UpstreamRequest | undefined {
    return undefined;
  }
  async open(
    _endpoint: Endpoint,
    _opener: object,
    dial: () => Promise<ByteChannel | Failure>,
  ): Promise<UpstreamRequest | Failure> {
    this.opened += 1;
    if (this.full) return fail("TOO_MANY_CONNECTIONS", "");
    this.dials += 1;
    const channel = await dial();
    return isFailure(channel) ? channel : (this.#name as unknown as UpstreamRequest);
  }
}

function setting(): {
  connections: AgreedConnections;
  http1: Pool;
  http2: Pool;
  channels: AgreedChannel[];
  agree: (alpn?: string) => () => Promise<ByteChannel>;
} {
  const [http1, http2] = [new Pool("http1"), new Pool("http2")];
  const channels: AgreedChannel[] = [];
  const agree = (alpn?: string) => async () => {
    await Promise.resolve();
    const channel = new AgreedChannel(alpn);
    channels.push(channel);
    return channel;
  };
  return { connections: new AgreedConnections(http1, http2), http1, http2, channels, agree };
}

test("the first connection finds out, and the others wait for it", async () => {
  for (const [alpn, expected] of [
    ["h2", "http2"],
    ["http/1.1", "http1"],
    [undefined, "http1"],
  ] as const) {
    const { connections, agree, http1, http2 } = setting();
    const all = await Promise.all([1, 2, 3].map(() => connections.open(ENDPOINT, ME, agree(alpn))));
    assert.deepEqual(all, [expected, expected, expected]);
    assert.equal((expected === "http2" ? http1 : http2).opened, 0);
  }
});

test("what the first one failed for is said to those that waited, and the next one finds out anew", async () => {
  const { connections, agree } = setting();
  const refused = fail("APP_REFUSED", "x");
  let dials = 0;
  const dial = async (): Promise<Failure> => {
    await Promise.resolve();
    dials += 1;
    return refused;
  };
  const all = await Promise.all([1, 2, 3].map(() => connections.open(ENDPOINT, ME, dial)));
  assert.deepEqual([all, dials], [[refused, refused, refused], 1]);
  assert.equal(await connections.open(ENDPOINT, ME, agree("h2")), "http2");
  const thrown = await setting().connections.open(ENDPOINT, ME, () => Promise.reject(new Error("defect")));
  assert.ok(isFailure(thrown) && thrown.code === "INTERNAL");
});

test("an application that changes its version is asked again, and not for ever", async () => {
  const { connections, agree, channels } = setting();
  assert.equal(await connections.open(ENDPOINT, ME, agree("h2")), "http2");
  assert.equal(await connections.open(ENDPOINT, ME, agree("http/1.1")), "http1");
  assert.equal(channels[1]?.wasReset, true, "the connection that came for the other pool");
  let turn = 0;
  const fickle = (): Promise<ByteChannel> => agree((turn += 1) % 2 === 0 ? "http/1.1" : "h2")();
  const given = await connections.open(ENDPOINT, ME, fickle);
  assert.ok(isFailure(given) && given.code === "BACKEND_TLS_FAILURE");
  assert.equal(turn, 3);
});

test("nobody waits for a connection that is being opened for somebody else", async () => {
  const { connections, agree, http2 } = setting();
  const { promise: never } = Promise.withResolvers<ByteChannel>();
  void connections.open(ENDPOINT, {}, () => never);
  assert.equal(await connections.open(ENDPOINT, ME, agree("h2")), "http2");
  assert.equal(http2.dials, 1);
});

test("a connection that its pool has no place for is let go", async () => {
  const { connections, agree, http2, channels } = setting();
  http2.full = true;
  const full = await connections.open(ENDPOINT, ME, agree("h2"));
  assert.ok(isFailure(full) && full.code === "TOO_MANY_CONNECTIONS");
  assert.equal(channels[0]?.wasReset, true);
});
