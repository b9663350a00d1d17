import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rename, rm, symlink, truncate, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { promisify } from "node:util";
import { readFolder, scanFolder, type FolderState } from "./folder.ts";
import { formatProblem } from "./problem-text.ts";
import { LOAD_LIMITS } from "./load.ts";

const namespace = (name: string): string => `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}}\n`;

async function folderFor(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "culvert-folder-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function read(folder: string, before?: FolderState): Promise<FolderState> {
  const state = await readFolder(folder, before?.files);
  assert.ok("files" in state, JSON.stringify(state));
  return state;
}

function names({ parsed }: FolderState): string[] {
  return parsed.resources.map(({ metadata }) => metadata.name);
}

function problems({ parsed }: FolderState): string[] {
  return parsed.problems.map(formatProblem);
}

describe("what is read", () => {
  test("resource files, one level of folders, no hidden names", async (context) => {
    const folder = await folderFor(context);
    await mkdir(join(folder, "sub", "deeper"), { recursive: true });
    await mkdir(join(folder, ".hidden"));
    for (const [path, name] of [
      ["b.yaml", "b"],
      ["a.yml", "a"],
      ["notes.txt", "x"],
      [".c.yaml", "x"],
      ["sub/d.json", "d"],
      ["sub/deeper/e.yaml", "x"],
      [".hidden/f.yaml", "x"],
    ]) {
      await writeFile(join(folder, path ?? ""), namespace(name ?? ""));
    }
    await writeFile(join(folder, "sub/d.json"), '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "d"}}');
    const state = await read(folder);
    assert.deepEqual(names(state), ["a", "b", "d"]);
    assert.deepEqual(problems(state), []);
    assert.deepEqual([...state.scan.folders.keys()], [folder, join(folder, "sub")]);
  });

  test("a mounted ConfigMap, and its swap", async (context) => {
    const folder = await folderFor(context);
    for (const version of ["1", "2"]) {
      await mkdir(join(folder, `..v${version}`));
      await writeFile(join(folder, `..v${version}`, "mesh.yaml"), namespace(`v${version}`));
    }
    await symlink("..v1", join(folder, "..data"));
    await symlink("..data/mesh.yaml", join(folder, "mesh.yaml"));
    const first = await read(folder);
    assert.deepEqual(names(first), ["v1"]);

    await symlink("..v2", join(folder, "..data_tmp"));
    await rename(join(folder, "..data_tmp"), join(folder, "..data"));
    const second = await read(folder);
    assert.deepEqual(names(second), ["v2"]);
    assert.notEqual(second.scan.signature, first.scan.signature);
  });

  test("an empty folder is an empty mesh", async (context) => {
    assert.deepEqual(names(await read(await folderFor(context))), []);
  });

  test("files with the same bytes are not parsed again", async (context) => {
    const folder = await folderFor(context);
    await writeFile(join(folder, "a.yaml"), namespace("a"));
    await writeFile(join(folder, "b.yaml"), namespace("b"));
    const first = await read(folder);
    await writeFile(join(folder, "b.yaml"), namespace("c"));
    const second = await read(folder, first);
    assert.deepEqual(names(second), ["a", "c"]);
    assert.equal(second.files.get(join(folder, "a.yaml")), first.files.get(join(folder, "a.yaml")));
  });

  test("the signature changes with every kind of change", async (context) => {
    const folder = await folderFor(context);
    const file = join(folder, "a.yaml");
    const signatures = new Set<string>();
    const look = async (): Promise<void> => {
      const scan = await scanFolder(folder);
      assert.ok(typeof scan !== "string");
      signatures.add(scan.signature);
    };
    await look();
    await writeFile(file, namespace("a"));
    await look();
    await writeFile(`${file}.tmp`, namespace("b"));
    await rename(`${file}.tmp`, file);
    await look();
    await mkdir(join(folder, "sub"));
    await look();
    await unlink(file);
    await look();
    assert.equal(signatures.size, 5);
  });
});

describe("what is wrong is an error of that file", () => {
  test("a file that is too large, a dangling link, a pipe, a folder by a file's name", async (context) => {
    const folder = await folderFor(context);
    await writeFile(join(folder, "large.yaml"), "");
    await truncate(join(folder, "large.yaml"), LOAD_LIMITS.bytesPerFile + 1);
    await symlink("nowhere", join(folder, "link.yaml"));
    await mkdir(join(folder, "folder.yaml"));
    await promisify(execFile)("mkfifo", [join(folder, "pipe.yaml")]);
    await writeFile(join(folder, "good.yaml"), namespace("a"));
    const state = await read(folder);
    assert.deepEqual(names(state), ["a"]);
    const found = problems(state).map((text) => text.replace(`${folder}/`, ""));
    assert.equal(found[0], "large.yaml: expected at most 1048576 bytes, found 1048577");
    assert.match(found[1] ?? "", /^link\.yaml: cannot be read: ENOENT/);
    assert.deepEqual(found.slice(2), ["pipe.yaml: expected a regular file"]);
  });

  test("YAML and resources, each with its line", async (context) => {
    const folder = await folderFor(context);
    const file = join(folder, "a.yaml");
    await writeFile(file, `${namespace("a")}---\nb: [\n---\nkind: 1\n`);
    const state = await read(folder);
    assert.deepEqual(names(state), ["a"]);
    assert.equal(problems(state).at(-1), `${file}:7: kind: expected the kind of a resource (? ?)`);
    assert.match(problems(state)[0] ?? "", /^.*a\.yaml:6: /);
  });

  test("a folder that is not there", async (context) => {
    const folder = join(await folderFor(context), "none");
    const state = await readFolder(folder);
    assert.ok(!("files" in state));
    assert.match(state.map(formatProblem).join("\n"), /none: cannot be read: ENOENT/);
  });

  test("a thousand documents are read in turns", async (context) => {
    const folder = await folderFor(context);
    const documents = Array.from({ length: 1000 }, (_, i) => namespace(`n-${i}`));
    await writeFile(join(folder, "many.yaml"), documents.join("---\n"));
    let turns = 0;
    let isReading = true;
    const count = (): void => {
      turns += 1;
      if (isReading) setImmediate(count);
    };
    setImmediate(count);
    assert.equal(names(await read(folder)).length, 1000);
    isReading = false;
    assert.ok(turns >= 1000 / 32, `${turns} turns`);
  });
});
