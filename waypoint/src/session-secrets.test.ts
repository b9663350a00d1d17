import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { SessionKeys } from "./filter/session-key.ts";
import { openSessionKeys } from "./session-secrets.ts";

const GATEWAY = "default/waypoint";
const OLD = "old-".repeat(10);
const NEW = "new-".repeat(10);

async function secrets(context: TestContext, text: string, mode = 0o600): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "culvert-secrets-"));
  context.after(() => rm(folder, { recursive: true }));
  const file = join(folder, "secrets");
  await writeFile(file, text);
  await chmod(file, mode);
  return file;
}

function sealed(keys: SessionKeys | string): string {
  assert.ok(typeof keys !== "string", "no keys");
  return keys[0].seal({ tag: keys[0].tag("a"), createdAt: 1, usedAt: 1 }, "r");
}

function opens(keys: SessionKeys | string, value: string): boolean {
  assert.ok(typeof keys !== "string", "no keys");
  return keys.some((key) => key.open(value, "r") !== undefined);
}

test("instances with one file understand each other, also while a secret is replaced", async (context) => {
  const before = await openSessionKeys(await secrets(context, `${OLD}\n`), GATEWAY);
  const between = await openSessionKeys(await secrets(context, `# both\n${NEW}\n\n  ${OLD}  \n`), GATEWAY);
  const later = await openSessionKeys(await secrets(context, NEW), GATEWAY);
  assert.ok(opens(between, sealed(before)));
  assert.ok(opens(later, sealed(between)));
  assert.ok(!opens(later, sealed(before)));
  assert.ok(!opens(await openSessionKeys(await secrets(context, OLD), "default/other"), sealed(before)));
});

test("without a file each process is by itself", async () => {
  const own = await openSessionKeys(undefined, GATEWAY);
  assert.ok(opens(own, sealed(own)));
  assert.ok(!opens(await openSessionKeys(undefined, GATEWAY), sealed(own)));
});

test("a file that cannot be used is named, with the line and without the secret", async (context) => {
  const said = async (text: string, mode?: number): Promise<string> => {
    const keys = await openSessionKeys(await secrets(context, text, mode), GATEWAY);
    assert.ok(typeof keys === "string");
    return keys;
  };
  assert.match(
    await said(`${NEW}\nshort-secret\n`),
    /secrets:2: expected a secret of at least 32 characters, found 12$/,
  );
  assert.match(await said("# nothing\n"), /found none$/);
  assert.match(await said(`${NEW}\n`.repeat(9)), /at most 8 secrets, found 9$/);
  assert.match(await said(NEW, 0o644), /sessions\.secrets: .*mode 0644/);
  const missing = await openSessionKeys("/nonexistent/secrets", GATEWAY);
  assert.match(
    typeof missing === "string" ? missing : "",
    /sessions\.secrets: \/nonexistent\/secrets: cannot be read \(ENOENT\)/,
  );
});
