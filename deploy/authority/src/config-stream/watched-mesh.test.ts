import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { formatProblem } from "@culvert/shared/config/problem-text.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { WatchedMesh } from "./watched-mesh.ts";

function service(key: string): string {
  return `apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {${key}: [{port: 80}]}\n`;
}

test("an empty folder is no state, and what fails closed is told", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "culvert-watched-mesh-"));
  context.after(() => rm(folder, { recursive: true }));
  const told: string[] = [];
  const mesh = new WatchedMesh({
    folder,
    clock: new FakeClock(),
    onChange: ({ ids }) => told.push(`changed ${[...ids].join()}`),
    onKept: (problems) => told.push(`kept ${problems.map(formatProblem).join()}`),
    onNotUnderstood: (problems) => told.push(`not understood ${problems.map(formatProblem).join()}`),
  });
  context.after(() => mesh.close());
  const next = async (): Promise<string> => {
    told.length = 0;
    await mesh.reload();
    return told.join("\n").replaceAll(`${folder}/`, "").replaceAll(folder, "folder");
  };
  assert.equal(await next(), "kept folder: expected at least one resource, found none");
  assert.equal(mesh.isUsable, false);

  await writeFile(join(folder, "a.yaml"), service("ports"));
  assert.equal(await next(), "changed Service default/a");

  await rm(join(folder, "a.yaml"));
  assert.equal(await next(), "kept folder: expected at least one resource, found none");
  assert.deepEqual([mesh.isUsable, mesh.mesh.size], [true, 1]);

  await writeFile(join(folder, "a.yaml"), service("prts"));
  const slip =
    "a.yaml:4: spec.prts: this field is not supported; did you mean ports? (Service default/a; not understood, fails closed)";
  assert.equal(await next(), `changed Service default/a\nnot understood ${slip}`);
  // Once for each set: another change has no news of it.
  await writeFile(join(folder, "b.yaml"), service("ports").replace("name: a", "name: b"));
  assert.equal(await next(), "changed Service default/b");
  // What is of no known kind is in nobody's scope, so that only this tells of it.
  await writeFile(join(folder, "c.yaml"), "apiVersion: v1\nkind: Servce\nmetadata: {name: c}\n");
  assert.match(await next(), /^not understood .*c\.yaml:1: kind: v1 Servce is not supported; did you mean Service/);
});
