import assert from "node:assert/strict";
import { test } from "node:test";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { MirrorMetrics } from "@culvert/shared/observe/mirror-metrics.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";
import { must } from "@culvert/test/support/must.ts";
import { LENGTH, NO_BODY } from "./http/body-kind.ts";
import type { RequestMessage, ResponseHead, ResponseSink, UpstreamRequest } from "./http/message.ts";
import { service, snapshot, workload, SELF } from "./mesh-fixtures.ts";
import { MeshView } from "./mesh/view.ts";
import { Mirrors, type MirrorOptions } from "./mirror.ts";
import { type Tenant, Tenants } from "./tenants/tenants.ts";
import type { EndpointGroup } from "./upstream/balance.ts";

const GET: RequestMessage = {
  method: "GET",
  path: "/x",
  authority: "shop",
  fields: "",
  body: NO_BODY,
  takesTrailers: false,
  upgrade: undefined,
};
const POST: RequestMessage = { ...GET, method: "POST", body: LENGTH };
const OK: ResponseHead = { status: 200, body: LENGTH, reason: "", keptFields: () => "" };
const KIB = 1024;

/** An application that takes copies, as slowly as a test wants. */
class FakeUpstream implements UpstreamRequest {
  reused = false;
  sink: ResponseSink | undefined = undefined;
  received = "";
  ended = "";
  isFull = false;

  start(sink: ResponseSink): void {
    this.sink = sink;
  }

  data(bytes: Buffer, start: number, end: number): void {
    this.received += bytes.toString("latin1", start, end);
  }

  finish(trailers: string): void {
    this.ended += `finished ${trailers}`;
  }

  flush(): boolean {
    return !this.isFull;
  }

  pause(): void {
    assert.fail("the answer to a copy is read as it comes");
  }

  resume(): void {
    assert.fail("it was not paused");
  }

  giveBack(): void {
    this.ended += "given back";
  }

  abandon(): void {
    this.ended += "abandoned";
  }
}

class Bench {
  readonly clock = new FakeClock();
  readonly metrics = new Metrics({ clock: this.clock });
  readonly mirrors: Mirrors;
  readonly tenant: Tenant = new Tenants().of(SELF.id, SELF.trustDomain);
  readonly group: EndpointGroup;
  /** Connections that are open already, and those that are dialled. */
  idle: UpstreamRequest[] = [];
  readonly dials: PromiseWithResolvers<UpstreamRequest | Failure>[] = [];

  constructor() {
    const connections = {
      take: () => this.idle.shift(),
      open: () => {
        const dial = Promise.withResolvers<UpstreamRequest | Failure>();
        this.dials.push(dial);
        return dial.promise;
      },
    };
    const metrics = new MirrorMetrics(this.metrics);
    const parts = { connections, upstream: {}, clock: this.clock, metrics, random: () => 0 };
    this.mirrors = new Mirrors(parts as unknown as MirrorOptions);
    const view = new MeshView(
      snapshot({ services: [service("default/shadow")], workloads: [workload("default/shadow-1", "10.0.0.1")] }),
      SELF,
    );
    this.group = must(
      view.backend({ kind: "service", namespace: "default", name: "shadow", port: 9080, invalid: undefined }),
    );
  }

  send(message: RequestMessage): ReturnType<Mirrors["send"]> {
    return this.mirrors.send(this.group, {
      message,
      permit: {} as Permit,
      version: "HTTP/1.1",
      tenant: this.tenant,
    });
  }

  async dialled(upstream: UpstreamRequest | Failure): Promise<void> {
    const dial = must(this.dials.shift());
    dial.resolve(upstream);
    await dial.promise;
    await Promise.resolve();
  }

  /** How copies have ended, and that nothing is left of them. */
  over(): Record<string, number> {
    assert.equal(this.mirrors.inFlight, 0);
    assert.equal(this.mirrors.heldBytes, 0);
    assert.ok(this.tenant.isIdle);
    assert.equal(this.group.endpoints[0]?.load.inFlight, 0);
    assert.equal(this.clock.pending, 0, "no timer is left");
    return this.results();
  }

  results(): Record<string, number> {
    const text = this.metrics.render("prometheus");
    const lines = text.matchAll(
      /^culvert_mirror_requests_total\{backend="default\/shadow:9080",result="(.*)"\} (\d+)$/gm,
    );
    return Object.fromEntries([...lines].map(([, result, count]) => [result ?? "", Number(count)]));
  }
}

test("a copy goes by a connection that is there, and its answer is dropped", () => {
  const bench = new Bench();
  const app = new FakeUpstream();
  bench.idle = [app];
  const copy = must(bench.send(GET));
  assert.equal(app.ended, "finished ");
  assert.equal(bench.mirrors.inFlight, 1);
  copy.over();
  app.sink?.onInterim(OK);
  app.sink?.onHead(OK);
  app.sink?.onData(Buffer.alloc(10), 0, 10, 10, true);
  app.sink?.onReadEnd();
  app.sink?.onResponseEnd("");
  assert.deepEqual(bench.over(), { answered: 1 });
});

test("the body waits for the connection, and follows in its order with its trailers", async () => {
  const bench = new Bench();
  const app = new FakeUpstream();
  const copy = must(bench.send(POST));
  const lent = Buffer.from("..ab..");
  copy.data(lent, 2, 4);
  lent.fill("x");
  assert.equal(bench.mirrors.heldBytes, 2);
  await bench.dialled(app);
  assert.equal(app.received, "ab", "what was lent has been copied");
  copy.data(Buffer.from("cd"), 0, 2);
  copy.finish("t: 1\r\n");
  assert.equal(app.received, "abcd");
  assert.equal(app.ended, "finished t: 1\r\n");
  app.sink?.onResponseEnd("");
  assert.deepEqual(bench.over(), { answered: 1 });
});

test("a copy that takes its body too slowly is held for up to a bound, then cut", async () => {
  const bench = new Bench();
  const app = new FakeUpstream();
  const copy = must(bench.send(POST));
  await bench.dialled(app);
  app.isFull = true;
  for (let i = 0; i < 5; i++) copy.data(Buffer.alloc(64 * KIB), 0, 64 * KIB);
  assert.equal(bench.mirrors.heldBytes, 256 * KIB);
  app.isFull = false;
  app.sink?.onUpstreamDrain();
  assert.equal(app.received.length, 320 * KIB);
  app.isFull = true;
  for (let i = 0; i < 6; i++) copy.data(Buffer.alloc(64 * KIB), 0, 64 * KIB);
  assert.equal(app.ended, "abandoned");
  copy.data(Buffer.alloc(1), 0, 1);
  copy.finish("");
  copy.over();
  assert.deepEqual(bench.over(), { slow: 1 });
});

test("what is held for all copies together is bounded too", () => {
  const bench = new Bench();
  const copies = Array.from({ length: 65 }, () => must(bench.send(POST)));
  for (const copy of copies) copy.data(Buffer.alloc(256 * KIB), 0, 256 * KIB);
  assert.equal(bench.mirrors.heldBytes, 16 * KIB * KIB);
  assert.deepEqual(bench.results(), { slow: 1 });
  for (const copy of copies) copy.over();
  assert.deepEqual(bench.over(), { slow: 1, "broken-off": 64 });
});

test("beyond so many copies to one backend there are no more", () => {
  const bench = new Bench();
  const copies = Array.from({ length: 250 }, () => must(bench.send(POST)));
  assert.equal(bench.send(GET), undefined);
  assert.deepEqual(bench.results(), { dropped: 1 });
  for (const copy of copies) copy.over();
  bench.idle = [new FakeUpstream()];
  assert.notEqual(bench.send(GET), undefined);
});

test("a copy that gets no answer in time is cut; what its own request does is nothing to it", async () => {
  const bench = new Bench();
  const app = new FakeUpstream();
  const copy = must(bench.send(POST));
  await bench.dialled(app);
  bench.clock.advance(3_600_000);
  copy.finish("");
  copy.over();
  bench.clock.advance(14_999);
  assert.equal(app.ended, "finished ");
  bench.clock.advance(1);
  assert.equal(app.ended, "finished abandoned");
  assert.deepEqual(bench.over(), { late: 1 });
});

test("a long answer is not read to its end", () => {
  const bench = new Bench();
  const app = new FakeUpstream();
  bench.idle = [app];
  bench.send(GET);
  app.sink?.onHead(OK);
  for (let i = 0; i < 17; i++) app.sink?.onData(Buffer.alloc(64 * KIB), 0, 64 * KIB, 64 * KIB, true);
  assert.equal(app.ended, "finished abandoned");
  assert.deepEqual(bench.over(), { answered: 1 });
});

test("a connection that cannot be had, breaks, or comes too late", async () => {
  const bench = new Bench();
  bench.send(GET);
  await bench.dialled(fail("APP_REFUSED", ""));
  assert.deepEqual(bench.over(), { failed: 1 });
  const broken = new FakeUpstream();
  bench.idle = [broken];
  bench.send(GET);
  broken.sink?.onUpstreamFailed(fail("APP_RESET", ""), false);
  assert.deepEqual(bench.over(), { failed: 2 });
  const late = new FakeUpstream();
  must(bench.send(POST)).over();
  await bench.dialled(late);
  assert.equal(late.ended, "given back");
  assert.deepEqual(bench.over(), { failed: 2, "broken-off": 1 });
});

test("a kept-alive connection that was closed meanwhile is no reason to lose a copy", async () => {
  const bench = new Bench();
  const [closed, fresh] = [new FakeUpstream(), new FakeUpstream()];
  closed.reused = true;
  bench.idle = [closed];
  bench.send(GET);
  closed.sink?.onUpstreamFailed(fail("APP_RESET", ""), false);
  await bench.dialled(fresh);
  assert.equal(fresh.ended, "finished ");
  fresh.sink?.onResponseEnd("");
  assert.deepEqual(bench.over(), { answered: 1 });
});
