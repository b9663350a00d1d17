import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Mesh } from "./mesh.ts";
import { checkMesh, readMesh, type MeshFile } from "./mesh-files.ts";

const LATER_MS = 10 ** 15;

function service(name: string, vip = ""): string {
  return `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {${vip}ports: [{port: 80}]}\n`;
}

test("files become documents, and only what has changed is read, sent and named", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "culvert-mesh-"));
  context.after(() => rm(folder, { recursive: true }));
  const mesh = new Mesh();
  const read = async (): Promise<ReadonlyMap<string, MeshFile>> => {
    const state = await readMesh(folder, mesh.files, () => LATER_MS);
    assert.ok("files" in state);
    return state.files;
  };
  const use = async (): Promise<readonly string[]> => {
    const change = mesh.use(await read());
    assert.ok("ids" in change);
    return [...change.ids].toSorted();
  };
  await writeFile(join(folder, "a.yaml"), `${service("a")}---\n${service("b")}`);
  await writeFile(
    join(folder, "c.yaml"),
    `apiVersion: v1\nkind: List\nitems:\n- ${service("c").replaceAll("\n", "\n  ")}\n`,
  );
  assert.deepEqual(await use(), ["Service default/a", "Service default/b", "Service default/c"]);
  const first = mesh.version;
  const kept = mesh.files.get(join(folder, "c.yaml"));

  await writeFile(
    join(folder, "a.yaml"),
    `# moved down\n${service("a")}---\n${service("b", "clusterIP: 10.96.0.1, ")}`,
  );
  assert.deepEqual(await use(), ["Service default/b"]);
  assert.equal(mesh.files.get(join(folder, "c.yaml")), kept);
  assert.notEqual(mesh.version, first);

  // From one file to another, and back to what it was: the same state has the same name.
  await writeFile(join(folder, "a.yaml"), service("a"));
  await writeFile(join(folder, "d.yaml"), service("b"));
  assert.deepEqual(await use(), ["Service default/b"]);
  assert.equal(mesh.version, first);

  const before = mesh.files;
  await writeFile(join(folder, "e.yaml"), service("a"));
  const refused = mesh.use(await read());
  assert.ok(!("ids" in refused));
  assert.match(refused[0]?.text ?? "", /is there twice/);
  assert.equal(mesh.files, before);
  assert.deepEqual([mesh.size, mesh.version], [3, first]);
  assert.equal((await checkMesh(folder)).length, 1);

  await rm(join(folder, "e.yaml"));
  await rm(join(folder, "d.yaml"));
  assert.deepEqual(await use(), ["Service default/b"]);
  assert.equal(mesh.document("Service default/b"), undefined);
});
