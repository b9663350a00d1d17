// The folder of an authority when things go wrong around it: killed in the middle, a full disk, a second server, a second authority.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { spawn } from "node:child_process";
import type { ClientHttp2Session } from "node:http2";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseJoinToken } from "@culvert/authority/proof/join-token.ts";
import { readRoots } from "@culvert/authority/state/authority-folder.ts";
import { readIssued } from "@culvert/authority/state/issued-log.ts";
import { readLists, readRevoked } from "@culvert/authority/state/revocation-store.ts";
import { TokenStore } from "@culvert/authority/state/token-store.ts";
import {
  askCertificate,
  createToken,
  initAuthority,
  joinAs,
  newRequest,
  sessionOf,
  startAuthority,
  watchTrust,
  type RunningAuthority,
} from "../support/authority.ts";
import { command, REPOSITORY } from "../support/env.ts";
import { grpcSession } from "../support/grpc.ts";
import { must } from "../support/must.ts";
import { needs } from "../support/needs.ts";
import { succeed } from "../support/process.ts";
import { runProgram } from "../support/programs.ts";
import { until } from "../support/until.ts";

const REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews";
const UNAVAILABLE = 14;
const ROUNDS = 6;

function temporary(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "culvert-authority-"));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function serve(context: TestContext, folder: string, ca: string): Promise<RunningAuthority> {
  const authority = await startAuthority(folder, ca);
  context.after(() => authority.program.stop());
  return authority;
}

/** Runs an `authority` command, which must succeed. */
async function authorityCommand(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram("authority", args);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** A module of the authority as it stands in a script. */
function moduleText(name: string): string {
  return JSON.stringify(join(REPOSITORY, "deploy/authority/src", name));
}

async function serialsIn(ca: string): Promise<ReadonlySet<string>> {
  return new Set(must(await readIssued(ca, Date.now())).map(({ serial }) => serial));
}

/** Names in a folder and below that only a writer in the middle of its work would leave. */
function staged(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /(^|\/)\.[^/]+$/.test(name));
}

test("a server that is killed again and again gives out no token twice and forgets no certificate", async (t) => {
  const folder = temporary(t);
  const ca = await initAuthority(folder);
  const tokens = new TokenStore(ca);
  const { csr } = await newRequest();
  const handedOut: string[] = [];
  let now = Date.now();
  const outcomes = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const running = await startAuthority(folder, ca);
    assert.deepEqual(staged(ca), []);
    const spec = {
      namespace: "default",
      serviceAccount: "reviews",
      createdAt: now,
      expiresAt: now + 3_600_000,
      uses: 1,
    };
    const made = await Promise.all(Array.from({ length: 12 }, async () => must(await tokens.create(spec))));
    for (const { id, secret } of made) outcomes.set(`culvert-join.${id}.${secret}`, 0);
    const session = await grpcSession({ port: running.port, ca: running.root });
    const answered = Promise.withResolvers<undefined>();
    // Those of earlier rounds too: what was in the middle may have been used or not, but never twice.
    const calls = [...outcomes.keys()].map(async (token) => {
      const { answer, chain } = await askCertificate(session, csr, { token }).catch(() => ({
        answer: undefined,
        chain: [],
      }));
      if (answer?.status !== 0) return;
      outcomes.set(token, (outcomes.get(token) ?? 0) + 1);
      handedOut.push(new X509Certificate(chain[0] ?? "").serialNumber);
      if (handedOut.length % 5 === round % 5) answered.resolve(undefined);
    });
    await Promise.race([answered.promise, Promise.all(calls)]);
    await running.program.kill();
    await Promise.all(calls);
    session.destroy();
    now = Date.now();
  }
  const kept = await serialsIn(ca);
  assert.deepEqual(
    handedOut.filter((serial) => !kept.has(serial)),
    [],
  );
  assert.equal(new Set(handedOut).size, handedOut.length);
  assert.deepEqual(
    [...outcomes.values()].filter((uses) => uses > 1),
    [],
  );
  for (const token of outcomes.keys()) assert(parseJoinToken(token) !== undefined);
  t.diagnostic(`${handedOut.length} certificates of ${outcomes.size} tokens over ${ROUNDS} kills`);
});

test("commands that are killed at any instant leave the folder whole", async (t) => {
  const folder = temporary(t);
  const ca = await initAuthority(folder);
  const script = `
    const { addRoot, activateRoot, removeRoot } = await import(${moduleText("state/rotation.ts")});
    const { revoke } = await import(${moduleText("state/revoke.ts")});
    const { readRoots } = await import(${moduleText("state/authority-folder.ts")});
    const { createAuthority } = await import(${moduleText("ca/certificate-authority.ts")});
    const [folder] = process.argv.slice(1);
    const step = () => ({ now: Date.now(), force: true });
    console.log("begun");
    for (let count = Date.now(); ; count += 1) {
      await revoke(folder, { serial: count.toString(16) }, { reason: "superseded", now: Date.now() });
      const { root } = await addRoot(folder, (domain) => createAuthority(domain, Date.now()), Date.now());
      await activateRoot(folder, root.id, step());
      for (const { id } of (await readRoots(folder)).all) if (id !== root.id) await removeRoot(folder, id, step());
    }`;
  let number = 0;
  for (let round = 0; round < 12; round += 1) {
    const writer = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script, ca],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    await new Promise((resolve) => writer.stdout.once("data", resolve));
    // Each round a little later, counted in changes of the folder and not in time.
    const { mtimeMs } = statSync(ca);
    await until("changes", () => statSync(ca).mtimeMs !== mtimeMs);
    for (let turn = 0; turn < round * 40; turn += 1) await new Promise(setImmediate);
    writer.kill("SIGKILL");
    await new Promise((resolve) => writer.once("close", resolve));
    const roots = must(await readRoots(ca));
    assert(roots.all.length <= 2);
    const record = await readRevoked(ca);
    assert(!isFailure(record));
    assert((record?.number ?? 0) >= number, "the number of the list never falls");
    number = record?.number ?? 0;
    await authorityCommand("revoke", ca, "--serial", "AB");
    assert.deepEqual(staged(ca), []);
    const { lists, problem } = await readLists(ca, must(await readRoots(ca)));
    assert.equal(problem, undefined);
    assert.equal(lists.length, roots.all.length, "each intermediate has its list");
  }
});

test("a second server is refused, and the first goes on", async (t) => {
  const folder = temporary(t);
  const ca = await initAuthority(folder);
  const first = await serve(t, folder, ca);
  const second = temporary(t);
  writeFileSync(
    join(second, "authority.yaml"),
    JSON.stringify({
      folder: ca,
      listen: "127.0.0.1:0",
      names: ["authority"],
      admin: "off",
      readiness: "off",
      metrics: "off",
    }),
  );
  const { code, stdout, stderr } = await runProgram("authority", ["serve", "--config", join(second, "authority.yaml")]);
  assert.equal(code, 3, stdout);
  assert.match(stderr, /ca: another server has it; give each a folder of its own/);
  await joinAs(first, await createToken(ca, "reviews"));
});

test("two authorities over one intermediate renew each other's certificates, and take each other's revocations", async (t) => {
  const [here, there] = [temporary(t), temporary(t)];
  const ca = await initAuthority(here);
  cpSync(ca, join(there, "ca"), { recursive: true });
  const one = await serve(t, here, ca);
  const two = await serve(t, there, join(there, "ca"));
  const holder = await joinAs(one, await createToken(ca, "reviews"));
  const { csr } = await newRequest();
  const atTwo = await sessionOf(two, holder);
  t.after(() => atTwo.destroy());
  assert.equal((await askCertificate(atTwo, csr)).answer.status, 0, "what one has issued the other renews");
  const watch = watchTrust(atTwo);
  await until("the first state", () => watch.states[0]);
  await authorityCommand("revoke", ca, "--id", REVIEWS);
  mkdirSync(join(there, "ca", "crls"));
  cpSync(join(ca, "crl.pem"), join(there, "ca", "crls", "one.pem"));
  await until("the other to refuse it too", async () => {
    const session = await sessionOf(two, holder);
    const { answer } = await askCertificate(session, csr);
    session.destroy();
    return answer.status !== 0;
  });
  const { lists } = await readLists(join(there, "ca"), must(await readRoots(join(there, "ca"))));
  assert.equal(lists.length, 1, "one list, with what both have revoked");
  assert.equal(lists[0]?.list.serials.size, 1);
});

test(
  "a full disk refuses, loses nothing, and is over when there is room",
  needs({ root: true, commands: ["mount", "umount"] }),
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "culvert-authority-"));
    const disk = join(folder, "disk");
    let running: RunningAuthority | undefined;
    let session: ClientHttp2Session | undefined;
    mkdirSync(disk);
    await succeed(command("mount"), ["-t", "tmpfs", "-o", "size=1m,mode=0700", "none", disk]);
    t.after(async () => {
      session?.destroy();
      await running?.program.stop();
      await succeed(command("umount"), [disk]);
      rmSync(folder, { recursive: true });
    });
    const ca = await initAuthority(disk);
    running = await startAuthority(folder, ca);
    const token = await createToken(ca, "reviews", "--reusable");
    const holder = await joinAs(running, token);
    const kept = await serialsIn(ca);
    const filler = join(disk, "filler");
    for (let size = 64 * 1024; size >= 1; size = Math.floor(size / 2)) {
      try {
        for (;;) writeFileSync(filler, Buffer.alloc(size), { flag: "a" });
      } catch {
        // Full for blocks of this size.
      }
    }
    session = await sessionOf(running, holder);
    const { csr } = await newRequest();
    // What is left of the log's last page may still hold some.
    const refused = await until("a refusal", async () => {
      const { answer } = await askCertificate(session, csr);
      return answer.status === 0 ? undefined : answer;
    });
    assert.equal(refused.status, UNAVAILABLE);
    await running.program.line(/"outcome":"refused".*issued.log: cannot be written \(ENOSPC\)/);
    const { code, stderr } = await runProgram("authority", ["revoke", ca, "--id", REVIEWS]);
    assert.equal(code, 1);
    assert.match(stderr, /cannot be written \(ENOSPC\)/);
    const after = await serialsIn(ca);
    assert.deepEqual(
      [...kept].filter((serial) => !after.has(serial)),
      [],
    );
    rmSync(filler);
    assert.equal((await askCertificate(session, csr)).answer.status, 0);
    await authorityCommand("revoke", ca, "--id", REVIEWS);
    assert.deepEqual(staged(ca), []);
  },
);
