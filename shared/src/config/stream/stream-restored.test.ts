// What is kept on disk of the authority's resources, and what becomes of it without an authority.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { until } from "@culvert/test/support/until.ts";
import type { ResourceSource } from "../resource-source.ts";
import { awayFailure, documents, entry, fixture, opened, service, untilStream } from "./stream-fixtures.ts";

const HOST = { kind: "name", host: "cart" } as const;

function names(source: ResourceSource): string[] {
  return [...source.get().directory.workloads()].map(({ name }) => name).toSorted();
}

describe("the last good resources", () => {
  test("serve when the authority is away, with the destinations that they answer", async (context) => {
    const folder = await mkdtemp(join(tmpdir(), "culvert-stream-"));
    context.after(() => rm(folder, { recursive: true, force: true }));
    const lastGood = join(folder, "snapshot");
    const f = fixture(context, { lastGood });
    const source = await opened(f);
    const asked = source.demand?.(HOST);
    const [stream] = f.authority.streams;
    await until("it is asked", () => stream?.wanted().length === 1);
    stream?.say({
      set: documents(`${service("cart")}---\n${entry("cart", "10.0.0.7")}`, "b.yaml"),
      answered: ["host/cart"],
    });
    await asked;
    f.clock.advance(1_000);
    await until("it is kept", () =>
      readFile(lastGood).then(
        (bytes) => bytes.includes("cart"),
        () => false,
      ),
    );
    source.close();

    const away = fixture(context, { lastGood });
    away.authority.away = awayFailure();
    const restored = await away.opening;
    assert.deepEqual(names(restored), ["a", "cart"]);
    assert.equal(restored.isRestored, true);
    assert.equal(restored.demand?.(HOST), undefined);
    assert.ok(restored.demand?.({ kind: "name", host: "other" }) instanceof Promise);
    assert.deepEqual(
      away.events.map(({ kind }) => kind),
      ["swapped", "restored"],
    );
    away.authority.away = undefined;
    const second = await untilStream(away, 1);
    assert.deepEqual(
      second.hello.have,
      new Map(
        [...documents(entry("a")), ...documents(`${service("cart")}---\n${entry("cart", "10.0.0.7")}`, "b.yaml")].map(
          ([id, { version }]) => [id, version] as const,
        ),
      ),
    );
    assert.deepEqual(second.hello.subscribe, ["host/cart", "host/other"]);
    await second.outcome(second.say({}));
    assert.equal(restored.isRestored, false);
  });

  test("wait for an authority that is slow, but not for ever", async (context) => {
    const folder = await mkdtemp(join(tmpdir(), "culvert-stream-"));
    context.after(() => rm(folder, { recursive: true, force: true }));
    const lastGood = join(folder, "snapshot");
    const f = fixture(context, { lastGood });
    await opened(f);
    f.clock.advance(1_000);
    await until("it is kept", () =>
      readFile(lastGood).then(
        () => true,
        () => false,
      ),
    );
    const slow = fixture(context, { lastGood });
    await slow.authority.stream(1);
    slow.clock.advance(3_000);
    assert.equal((await slow.opening).isRestored, true);
  });

  test("that are damaged are told of, and nothing serves without an authority", async (context) => {
    const folder = await mkdtemp(join(tmpdir(), "culvert-stream-"));
    context.after(() => rm(folder, { recursive: true, force: true }));
    const lastGood = join(folder, "snapshot");
    await writeFile(lastGood, "CULVERT-SNAPSHOT nonsense", { mode: 0o600 });
    const f = fixture(context, { lastGood });
    f.authority.away = awayFailure();
    await until("it is told", () => f.connection.length === 1);
    const [event] = f.events;
    assert.ok(event?.kind === "not-restored");
    assert.match(event.text, /no snapshot of Culvert/);
    f.authority.away = undefined;
    await untilStream(f, 1);
    await opened(f);
  });
});
