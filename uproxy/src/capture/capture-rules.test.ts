// Rules for review: each configuration under `golden` beside the scripts that it makes. A script that has to change is written anew by
// `uproxy capture print --config golden/NAME.yaml --backend BACKEND > golden/NAME.BACKEND.sh`, and read.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { must } from "@culvert/test/support/must.ts";
import { loadUproxyConfig } from "@culvert/shared/config/process/load-process-config.ts";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseListenAddress } from "@culvert/shared/net/listen-address.ts";
import { iptablesApplyScript, iptablesRemoveScript } from "./iptables-rules.ts";
import { nftApplyScript, nftRemoveScript } from "./nft-rules.ts";
import { capturePlan, type CaptureSource } from "./plan.ts";

const GOLDEN = join(import.meta.dirname, "golden");
const golden = (name: string): string => readFileSync(join(GOLDEN, name), "utf8");

async function config(name: string): Promise<UproxyConfig> {
  const read = await loadUproxyConfig(join(GOLDEN, `${name}.yaml`), new Map());
  assert.ok(!Array.isArray(read), JSON.stringify(read));
  return read as UproxyConfig;
}

const names = readdirSync(GOLDEN)
  .filter((file) => file.endsWith(".yaml"))
  .map((file) => file.slice(0, -".yaml".length));

for (const name of names) {
  test(`the scripts of ${name}.yaml`, async () => {
    const plan = must(capturePlan(await config(name)));
    assert.equal(nftApplyScript(plan), golden(`${name}.nft.sh`));
    assert.equal(iptablesApplyScript(plan), golden(`${name}.iptables.sh`));
  });
}

test("the scripts that take the rules away", () => {
  assert.equal(nftRemoveScript(), golden("remove.nft.sh"));
  assert.equal(iptablesRemoveScript(), golden("remove.iptables.sh"));
});

describe("where rules can turn connections to", async () => {
  const least = await config("least");
  const at = (address: string | number): CaptureSource => {
    const transparent = parseListenAddress(address);
    return { ...least, outbound: { ...least.outbound, transparent } };
  };
  const both = { port: 15001, ipv4: true, ipv6: true };
  for (const [address, turn] of [
    [15001, both],
    ["[::]:15001", both],
    ["0.0.0.0:15001", { ...both, ipv6: false }],
    ["127.0.0.1:15001", { ...both, ipv6: false }],
    ["[::1]:15001", { ...both, ipv4: false }],
  ] as const) {
    test(`${address}`, () => assert.deepEqual(must(capturePlan(at(address))).outbound, turn));
  }
  for (const address of [
    "127.0.0.2:15001",
    "localhost:15001",
    "10.0.0.5:15001",
    "[fd00::1]:15001",
    "proxy:15001",
    ":0",
  ]) {
    test(`${address} is refused`, () => {
      const refused = capturePlan(at(address));
      assert.ok(isFailure(refused));
      assert.match(refused.detail, /^outbound\.transparent: expected /);
    });
  }
  for (const [host, turn] of [
    ["localhost", both],
    ["127.0.0.1", { ...both, ipv6: false }],
    ["::1", { ...both, ipv4: false }],
  ] as const) {
    test(`DNS on ${host}`, () => {
      const dns = { listen: { kind: "tcp", host, port: 15001 }, upstream: undefined } as const;
      assert.deepEqual(must(capturePlan({ ...least, dns })).dns, turn);
    });
  }
});
