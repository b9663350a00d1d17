// Who is asked for other names: read, read again, and never ourselves.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { ip } from "@culvert/test/support/fixtures.ts";
import { parseResolvConf, Resolvers } from "./resolvers.ts";

const at = (address: string, port = 53): Endpoint => ({ ip: ip(address), port });

function resolvConf(context: TestContext): { file: string; write: (text: string) => void } {
  const folder = mkdtempSync(join(tmpdir(), "culvert-dns-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "resolv.conf");
  return { file, write: (text) => writeFileSync(file, text) };
}

test("the nameserver lines of resolv.conf", () => {
  assert.deepEqual(
    parseResolvConf(
      [
        "# nameserver 1.1.1.1",
        "search shop.svc.cluster.local",
        "nameserver 10.96.0.10",
        "nameserver\tfd00::a  # dual stack",
        "nameserver fe80::1%eth0",
        "nameserver",
        "options ndots:5",
      ].join("\n"),
    ),
    [at("10.96.0.10"), at("fd00::a")],
  );
});

test("a change of the file is seen, and while it is gone the last list stays", async (context) => {
  const { file, write } = resolvConf(context);
  const clock = new FakeClock();
  const told: string[] = [];
  const resolvers = new Resolvers({
    configured: undefined,
    own: [],
    clock,
    file,
    onChange: (list) => told.push(list.map((one) => one.ip).join()),
  });
  await resolvers.look();
  assert.deepEqual(resolvers.current(), []);
  write("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n");
  await resolvers.look();
  assert.deepEqual(resolvers.current(), [], "not looked at again yet");
  clock.advance(2_000);
  await resolvers.look();
  assert.deepEqual(resolvers.current(), [at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.3")]);
  rmSync(file);
  clock.advance(2_000);
  await resolvers.look();
  assert.equal(resolvers.current().length, 3);
  write("nameserver 10.0.0.9\n");
  clock.advance(2_000);
  await resolvers.look();
  assert.deepEqual(told, ["", "10.0.0.1,10.0.0.2,10.0.0.3", "10.0.0.9"]);
});

test("we are not asked by ourselves", () => {
  const refused: Endpoint[] = [];
  const resolvers = new Resolvers({
    configured: [at("127.0.0.1"), at("0.0.0.0"), at("127.0.0.1", 5353), at("127.0.0.53"), at("10.0.0.1")],
    own: [at("127.0.0.1")],
    clock: new FakeClock(),
    onChange: (_list, own) => refused.push(...own),
  });
  assert.deepEqual(resolvers.current(), [at("127.0.0.1", 5353), at("127.0.0.53"), at("10.0.0.1")]);
  assert.deepEqual(refused, [at("127.0.0.1"), at("0.0.0.0")]);
});
