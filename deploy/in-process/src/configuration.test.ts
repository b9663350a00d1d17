// What a mesh in a process is configured with: the keys of uproxy, but for those that only a proxy beside an app can act on.
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readConfiguration, type MeshConfiguration } from "./configuration.ts";
import { MeshConfigurationError } from "./errors.ts";

const folder = mkdtempSync(join(tmpdir(), "culvert-in-process-"));
after(() => rmSync(folder, { recursive: true }));

const LEAST: MeshConfiguration = { identity: { files: "/identity" }, resources: { files: "/mesh" } };

async function problems(configuration: unknown): Promise<readonly string[]> {
  try {
    await readConfiguration(configuration as MeshConfiguration);
  } catch (error) {
    if (error instanceof MeshConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

test("values and a file mean the same", async () => {
  const values = await readConfiguration({
    ...LEAST,
    workload: { name: "web-1" },
    inbound: { hbone: "127.0.0.1:25008" },
    limits: { connectTimeout: "2s" },
  });
  const file = join(folder, "web.yaml");
  writeFileSync(
    file,
    [
      "identity: {files: /identity}",
      "resources: {files: /mesh}",
      "workload: {name: web-1}",
      "inbound: {hbone: 127.0.0.1:25008}",
      "outbound: {proxy: off}",
      "limits: {connectTimeout: 2s}",
    ].join("\n"),
  );
  const read = await readConfiguration(file);
  deepEqual({ ...read, outbound: undefined }, { ...values, outbound: undefined });
  equal(values.workload?.namespace, "default");
  equal(values.limits.connectTimeoutMs, 2_000);
  equal(values.drain.timeoutMs, 25_000);
});

test("every problem is named with its place", async () => {
  const found = await problems({ ...LEAST, identity: {}, drain: { timeout: "soon" }, outbonud: {} });
  equal(found.length, 3);
  match(found.join("\n"), /openMesh: outbonud: [^]*outbound[^]*openMesh: identity: [^]*openMesh: drain\.timeout: /);
  match((await problems(join(folder, "none.yaml"))).join(), /none\.yaml: /);
});

test("keys of a proxy beside an app are refused with what to do instead; off says nothing", async () => {
  const found = await problems({
    ...LEAST,
    outbound: { listeners: [{ listen: "127.0.0.1:1", to: "a:1" }] },
    dns: "127.0.0.1:53",
  });
  match(found.join("\n"), /outbound\.listeners: .*connect\(\)/);
  match(found.join("\n"), /dns: /);
  deepEqual(await problems({ ...LEAST, outbound: { listeners: [], proxy: "off" }, admin: "off", dns: false }), []);
});

test("what is no plain value is refused", async () => {
  match((await problems({ ...LEAST, workload: { name: () => "x" } })).join(), /workload\.name: .*function/);
  match((await problems("")).join(), /: /);
  await rejects(readConfiguration([] as unknown as MeshConfiguration), MeshConfigurationError);
  let deep: unknown = "x";
  for (let level = 0; level < 40; level += 1) deep = { deep };
  match((await problems({ ...LEAST, limits: deep })).join(), /at most 16 levels/);
});
