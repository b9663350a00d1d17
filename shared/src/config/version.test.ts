import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { buildVersion, commitOf, versionLine } from "./version.ts";

const root = await mkdtemp(join(tmpdir(), "culvert-version-"));
after(() => rm(root, { recursive: true, force: true }));
const commit = "0123456789abcdef0123456789abcdef01234567";

async function checkout(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const folder = join(root, name);
  await mkdir(join(folder, ".git/refs/heads"), { recursive: true });
  for (const [path, text] of Object.entries(files)) await writeFile(join(folder, ".git", path), text);
  return folder;
}

test("the commit of a branch, of a packed branch, of a detached head", async () => {
  const branch = { HEAD: "ref: refs/heads/main\n", "refs/heads/main": `${commit}\n` };
  assert.equal(commitOf(await checkout("branch", branch)), commit);
  const packed = { HEAD: "ref: refs/heads/main\n", "packed-refs": `# pack-refs\n${commit} refs/heads/main\n^x\n` };
  assert.equal(commitOf(await checkout("packed", packed)), commit);
  assert.equal(commitOf(await checkout("detached", { HEAD: `${commit}\n` })), commit);
});

test("no commit where there is none", async () => {
  assert.equal(commitOf(join(root, "absent")), undefined);
  assert.equal(commitOf(await checkout("unborn", { HEAD: "ref: refs/heads/main\n" })), undefined);
  assert.equal(commitOf(await checkout("strange", { HEAD: "ref: ../../etc/passwd\n" })), undefined);
});

test("one line with version, commit, Node and OpenSSL", () => {
  const { version, commit: own } = buildVersion();
  const line = versionLine("uproxy");
  assert.equal(
    line,
    `uproxy ${version}, commit ${own}, Node ${process.versions.node}, OpenSSL ${process.versions.openssl}`,
  );
  assert.match(version, /^\d+\.\d+\.\d+/);
});
