import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { runCommandLine } from "@culvert/shared/config/cli.ts";
import { identityFromTexts, readIdentityTexts } from "@culvert/shared/identity/sources/identity-folder.ts";
import { selfCheck } from "@culvert/shared/identity/identity.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { unready } from "@culvert/test/support/unready.ts";
import { authorityProgram } from "./program.ts";

const MAIN = join(import.meta.dirname, "main.ts");
const root = await mkdtemp(join(tmpdir(), "culvert-authority-"));
// The messages name paths as they were given, so the tests give them as a user would.
process.chdir(root);
after(() => rm(root, { recursive: true, force: true }));

/** How a run of the program ended. */
interface Run {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the command line in this process. */
async function authority(...args: string[]): Promise<Run> {
  let out = "";
  let err = "";
  const io = { out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  return { exit: await runCommandLine(authorityProgram, args, io), out, err };
}

/** Runs the program as a user does. */
async function spawned(...args: string[]): Promise<Run> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], { timeout: 30_000 }, (_, out, err) =>
      resolve({ exit: child.exitCode ?? -1, out, err }),
    );
  });
}

async function modeOf(path: string): Promise<string> {
  return ((await stat(path)).mode & 0o777).toString(8);
}

const ca = join(root, "ca");
const made = await authority("init", "ca", "--trust-domain", "ours.test");

async function issue(out: string, serviceAccount = "reviews", ...more: string[]): Promise<Run> {
  return authority("issue", "ca", "--namespace", "default", "--service-account", serviceAccount, "--out", out, ...more);
}

describe("init", () => {
  test("makes an authority with nothing else beside it", async () => {
    assert.deepEqual([made.exit, made.err], [0, ""]);
    assert.match(made.out, /^authority of ours.test in ca; /);
    assert.deepEqual((await readdir(ca)).toSorted(), ["authority.json", "root.pem", "roots"]);
    const place = await partsOf(ca);
    assert.deepEqual((await readdir(place)).toSorted(), [
      "intermediate-key.pem",
      "intermediate.pem",
      "root-key.pem",
      "root.pem",
    ]);
    for (const folder of [ca, join(ca, "roots"), place]) assert.equal(await modeOf(folder), "700");
    for (const key of ["root-key.pem", "intermediate-key.pem"]) assert.equal(await modeOf(join(place, key)), "600");
    assert(
      (await readdir(root)).every((name) => !name.startsWith(".")),
      "no staging folder is left",
    );
  });

  test("refuses a folder that exists and leaves it alone", async () => {
    const before = await readFile(join(ca, "root.pem"), "utf8");
    const again = await authority("init", "ca", "--trust-domain", "ours.test");
    assert.deepEqual(again, { exit: 1, out: "", err: "authority init: ca already exists\n" });
    assert.equal(await readFile(join(ca, "root.pem"), "utf8"), before);
    await mkdir(join(root, "empty"));
    assert.equal((await authority("init", "empty", "--trust-domain", "ours.test")).exit, 1);
    assert.deepEqual(await readdir(join(root, "empty")), []);
  });

  for (const name of ["Ours.test", "spiffe://ours.test", "ours.test:80", "ours test", "a".repeat(256)]) {
    test(`refuses the trust domain ${name.slice(0, 40)}`, async () => {
      const { exit, err } = await authority("init", "bad", "--trust-domain", name);
      assert.equal(exit, 2);
      assert.match(err, /^authority init: --trust-domain ".*": .*\n$/);
      assert.equal((await readdir(root)).includes("bad"), false);
    });
  }

  test("says what it cannot write", async () => {
    await writeFile(join(root, "file"), "");
    const { exit, err } = await authority("init", "file/ca", "--trust-domain", "ours.test");
    assert.equal(exit, 1);
    assert.match(err, /^authority init: file\/ca: cannot be written \(E[A-Z]+\)\n$/);
  });
});

describe("issue", () => {
  test("writes an identity folder that the data plane takes", async () => {
    const { exit, out, err } = await issue("reviews", "reviews", "--ttl", "90m");
    assert.deepEqual([exit, err], [0, ""]);
    assert.match(out, /^spiffe:\/\/ours.test\/ns\/default\/sa\/reviews in reviews, valid until 20\d\d-.*Z\n$/);
    const folder = join(root, "reviews");
    assert.deepEqual((await readdir(folder)).toSorted(), ["bundle.pem", "key.pem", "svid.pem"]);
    assert.equal(await modeOf(folder), "700");
    assert.equal(await modeOf(join(folder, "key.pem")), "600");
    const texts = await readIdentityTexts(folder);
    assert(!isFailure(texts));
    const identity = identityFromTexts(texts, Date.now());
    assert(!isFailure(identity));
    assert.equal(identity.svid.id, "spiffe://ours.test/ns/default/sa/reviews");
    assert.equal(identity.svid.notAfter - identity.svid.notBefore, 91 * 60_000);
    assert.equal(selfCheck(identity, Date.now()), undefined);
  });

  test("lives for a day when nothing is said", async () => {
    await issue("day", "day");
    const texts = await readIdentityTexts(join(root, "day"));
    assert(!isFailure(texts));
    const identity = identityFromTexts(texts, Date.now());
    assert(!isFailure(identity));
    assert.equal(identity.svid.notAfter - identity.svid.notBefore, 24 * 3_600_000 + 60_000);
  });

  test("replaces an earlier SVID of the same identity, and no other", async () => {
    await issue("own", "one");
    const before = await readFile(join(root, "own", "svid.pem"), "utf8");
    assert.equal((await issue("own", "one")).exit, 0);
    const renewed = await readFile(join(root, "own", "svid.pem"), "utf8");
    assert.notEqual(renewed, before);
    const other = await issue("own", "two");
    assert.equal(other.exit, 1);
    assert.match(other.err, /own holds spiffe:\/\/ours.test\/ns\/default\/sa\/one; it is not overwritten with .*\/two/);
    assert.equal(await readFile(join(root, "own", "svid.pem"), "utf8"), renewed);
    assert.match((await issue("ca", "one")).err, /ca holds an authority; it is not overwritten/);
    await mkdir(join(root, "strange"));
    await writeFile(join(root, "strange", "svid.pem"), "mine");
    assert.match((await issue("strange", "one")).err, /strange holds an unknown svid.pem; it is not overwritten/);
  });

  const wrong: readonly [what: string, args: readonly string[], line: RegExp][] = [
    ["no authority", ["--namespace", "a"], /DIR is required|--service-account SA is required/],
    [
      "a namespace of two segments",
      ["ca", "--namespace", "a/b", "--service-account", "c", "--out", "no"],
      /one path segment/,
    ],
    ["an empty account", ["ca", "--namespace", "a", "--service-account=", "--out", "no"], /needs a value/],
    ["an account with a space", ["ca", "--namespace", "a", "--service-account", "b c", "--out", "no"], /holds only/],
    ["a dot for an account", ["ca", "--namespace", "a", "--service-account", "..", "--out", "no"], /'.' or '..'/],
    ["no place to write to", ["ca", "--namespace", "a", "--service-account", "b"], /--out DIR2 is required/],
    ["a life without a unit", [...issuing("no"), "--ttl", "24"], /expected a duration such as 90m or 24h, found "24"/],
    ["a life of a second", [...issuing("no"), "--ttl", "1s"], /expected 1m to 2160h/],
    ["a life of a year", [...issuing("no"), "--ttl", "8760h"], /expected 1m to 2160h/],
  ];
  for (const [what, args, line] of wrong) {
    test(`refuses ${what}`, async () => {
      const { exit, out, err } = await authority("issue", ...args);
      assert.deepEqual([exit, out], [2, ""]);
      assert.match(err, line);
      assert.equal(err.split("\n").length, 2, "one line");
      assert.equal((await readdir(root)).includes("no"), false);
    });
  }

  const harms: readonly [what: string, harm: (folder: string) => Promise<void>, line: RegExp][] = [
    [
      "whose key others may read",
      (at) => chmod(join(at, "intermediate-key.pem"), 0o644),
      /mode 0644, so others may use it/,
    ],
    [
      "whose root key others may read",
      (at) => chmod(join(at, "root-key.pem"), 0o640),
      /root-key.pem: the key has mode 0640/,
    ],
    ["without its root", (at) => rm(join(at, "root.pem")), /root.pem: cannot be read \(ENOENT\)/],
    [
      "with keys exchanged",
      (at) => cp(join(at, "root-key.pem"), join(at, "intermediate-key.pem")),
      /is not the key of/,
    ],
    ["with half a key", (at) => writeFile(join(at, "root-key.pem"), "-----BEGIN"), /is not a private key/],
    ["whose intermediate is not its own", (at) => copyPart("other", at), /intermediate.pem is not signed by root.pem/],
  ];
  for (const [index, [what, harm, line]] of harms.entries()) {
    test(`refuses an authority ${what}`, async () => {
      const name = `harmed-${index}`;
      await cp(ca, join(root, name), { recursive: true });
      await harm(await partsOf(join(root, name)));
      const { exit, err } = await authority("issue", ...issuing(`none-${index}`, name));
      assert.equal(exit, 1);
      assert.match(err, line);
      assert.equal((await readdir(root)).includes(`none-${index}`), false);
    });
  }
});

describe("the program", () => {
  test("--help and wrong commands", async () => {
    const help = await authority("--help");
    assert.equal(help.exit, 0);
    assert.match(
      help.out,
      /authority init DIR --trust-domain TD \[--ca-cert F\] \[--ca-key F\] \[--chain F\] \[--if-absent\]\n/,
    );
    assert.match(help.out, /authority issue DIR --namespace NS --service-account SA \[--ttl 24h\] --out DIR2\n/);
    assert.match((await authority("issue", "--help")).out, /--ttl 24h {2,}life of the certificate/);
    assert.match((await authority("isue")).err, /did you mean issue\?/);
    assert.equal((await authority()).exit, 2);
  });

  test("works as a process: makes, issues, refuses, and says its version", async () => {
    const init = await spawned("init", "spawned-ca", "--trust-domain", "ours.test");
    assert.deepEqual([init.exit, init.err], [0, ""]);
    const issued = await spawned("issue", ...issuing("spawned", "spawned-ca"));
    assert.deepEqual([issued.exit, issued.err], [0, ""]);
    const texts = await readIdentityTexts(join(root, "spawned"));
    assert(!isFailure(texts) && !isFailure(identityFromTexts(texts, Date.now())));
    const again = await spawned("init", "spawned-ca", "--trust-domain", "ours.test");
    assert.deepEqual(again, { exit: 1, out: "", err: "authority init: spawned-ca already exists\n" });
    const wrong = await spawned("issue", "spawned-ca");
    assert.deepEqual([wrong.exit, wrong.out], [2, ""]);
    const version = await spawned("--version");
    assert.equal(version.exit, 0);
    assert.match(version.out, /^authority \d+\.\d+\.\d+, commit ([0-9a-f]{40}|unknown), Node \d+\.[\d.]+, OpenSSL \d/);
  });
});

function issuing(out: string, folder = "ca"): string[] {
  return [folder, "--namespace", "default", "--service-account", "x", "--out", out];
}

/** Where the files of the only root are. */
async function partsOf(folder: string): Promise<string> {
  const [id = "", ...others] = await readdir(join(folder, "roots"));
  assert.deepEqual(others, []);
  return join(folder, "roots", id);
}

/** Puts the intermediate of another authority of the same name into `folder`. */
async function copyPart(name: string, folder: string): Promise<void> {
  await authority("init", name, "--trust-domain", "ours.test");
  const parts = await partsOf(join(root, name));
  for (const file of ["intermediate.pem", "intermediate-key.pem"]) await cp(join(parts, file), join(folder, file));
}

test("wait says that nobody is ready, and wants a duration", async (context) => {
  const { address, port } = await unready(context);
  const nobody = await authority("wait", "--address", `${address}:${port}`, "--timeout", "1ms");
  assert.equal(nobody.exit, 1);
  assert.match(nobody.err, /^authority wait: not ready after 1 ms: /);
  assert.equal((await authority("wait", "--timeout", "soon")).exit, 2);
});

test("init --if-absent leaves an authority of that trust domain as it is, and refuses another's", async () => {
  const before = await readFile(join(ca, "authority.json"), "utf8");
  const again = await authority("init", "ca", "--trust-domain", "ours.test", "--if-absent");
  assert.deepEqual([again.exit, again.out], [0, "ca is an authority of ours.test already\n"]);
  assert.equal(await readFile(join(ca, "authority.json"), "utf8"), before);
  const others = await authority("init", "ca", "--trust-domain", "theirs.test", "--if-absent");
  assert.deepEqual(others.exit, 1);
  assert.match(others.err, /ca is an authority of ours\.test, not of theirs\.test/);
  assert.equal((await authority("init", "new", "--trust-domain", "ours.test", "--if-absent")).exit, 0);
  assert.match((await authority("init", "new", "--trust-domain", "ours.test")).err, /new/);
});

test("token create --out writes what a workload needs to join, and prints no secret", async () => {
  const who = ["--namespace", "default", "--service-account", "reviews"];
  const invited = await authority("token", "create", "ca", ...who, "--out", "invitation");
  assert.deepEqual([invited.exit, invited.out], [0, ""]);
  const first = await readFile(join(root, "invitation/token"), "utf8");
  assert.match(first, /^culvert-join\.\S+\n$/);
  assert.equal(await modeOf(join(root, "invitation/token")), "600");
  assert.equal(await readFile(join(root, "invitation/root.pem"), "utf8"), await readFile(join(ca, "root.pem"), "utf8"));
  assert.equal((await authority("token", "create", "ca", ...who, "--out", "invitation")).exit, 0);
  assert.notEqual(await readFile(join(root, "invitation/token"), "utf8"), first);
  await writeFile(join(root, "no-folder"), "");
  const nowhere = await authority("token", "create", "ca", ...who, "--out", "no-folder");
  assert.equal(nowhere.exit, 1);
  assert.match(nowhere.err, /no-folder/);
});
