import assert from "node:assert/strict";
import { test } from "node:test";
import { parseText } from "@culvert/shared/config/resources/text-fixtures.ts";
import { ResourceIndex } from "@culvert/shared/config/scope/resource-index.ts";
import { destinationScope } from "@culvert/shared/config/scope/destination-scope.ts";
import { SharedScopes } from "./shared-scopes.ts";

function workload(name: string, app: string, address: string): string {
  return `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: ${address}, labels: {app: ${app}}}\n`;
}

function service(name: string): string {
  return `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {selector: {app: ${name}}, ports: [{port: 80}]}\n`;
}

test("a change works out only the scopes that it concerns, once for all holders, and tells them what", () => {
  const services = Array.from({ length: 200 }, (_, index) => service(`s${index}`));
  const workloads = Array.from({ length: 200 }, (_, index) => workload(`w${index}`, `s${index}`, `10.0.0.${index}`));
  const index = new ResourceIndex(parseText([...services, ...workloads].join("---\n")).resources);
  const scopes = new SharedScopes(index);
  let worked = 0;
  const told = new Map<string, string[]>();
  const holders = Array.from({ length: 400 }, (_, number) => {
    const key = `host/s${number % 200}`;
    const holder = { concerned: (ids: Iterable<string>) => void told.set(`${number}`, [...ids]) };
    scopes.acquire(key, "default", holder, (all) => {
      worked += 1;
      return destinationScope(all, "default", key);
    });
    return { key, holder };
  });
  assert.deepEqual([scopes.size, worked], [200, 200]);
  assert.deepEqual([scopes.sizeOf("default"), scopes.sizeOf("shop")], [200, 0]);

  const [moved] = parseText(workload("w7", "s7", "10.9.9.9")).resources;
  assert.ok(moved !== undefined);
  worked = 0;
  const steps = [...scopes.changed(index.set(moved), new Set(["WorkloadEntry default/w7"]))];
  assert.deepEqual([steps.length, worked], [1, 1]);
  const ids = ["WorkloadEntry default/w7"];
  assert.deepEqual(
    [...told],
    [
      ["7", ids],
      ["207", ids],
    ],
  );

  for (const { key, holder } of holders) scopes.release({ key, ids: new Set() }, holder);
  assert.deepEqual([scopes.size, scopes.sizeOf("default")], [0, 0]);
  assert.equal([...scopes.changed(index.delete("Service default/s7"), new Set())].length, 0);
});
