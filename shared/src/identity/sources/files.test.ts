import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { chmod, cp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { mintSvid, testAuthority } from "@culvert/test/support/ca.ts";
import { LAYOUTS, must, writeIdentityFolder, writeWhole } from "@culvert/test/support/identity.ts";
import { isFailure } from "../../failure/failure.ts";
import { FakeClock } from "../../net/fake-clock.ts";
import { systemClock } from "../../net/clock.ts";
import type { Clock } from "../../net/clock.ts";
import { openFilesSource } from "./files.ts";
import type { IdentityEvent, ReloadableSource } from "../source.ts";
import { authority, first, folderWith, name, root, second } from "../identity-fixtures.ts";
import type { IdentityLocation } from "./identity-folder.ts";

/** A source with what it has told. */
interface Opened {
  readonly source: ReloadableSource;
  readonly events: IdentityEvent[];
  /** Resolves once an event of this kind has been told, now or before. */
  readonly told: (kind: IdentityEvent["kind"]) => Promise<void>;
}

const opened = new Set<ReloadableSource>();
after(() => {
  for (const source of opened) source.close();
});

async function open(location: IdentityLocation, clock: Clock = new FakeClock(Date.now())): Promise<Opened> {
  const events: IdentityEvent[] = [];
  const emitter = new EventEmitter();
  const onEvent = (event: IdentityEvent): void => {
    events.push(event);
    emitter.emit(event.kind);
  };
  const told = async (kind: IdentityEvent["kind"]): Promise<void> => {
    if (!events.some((event) => event.kind === kind))
      await once(emitter, kind, { signal: AbortSignal.timeout(10_000) });
  };
  const source = must(await openFilesSource({ location, clock, onEvent }));
  opened.add(source);
  return { source, events, told };
}

test("a source that cannot have an identity is not opened", async () => {
  const failure = await openFilesSource({ location: join(root, "absent"), clock: systemClock, onEvent: () => {} });
  assert(isFailure(failure));
  assert.equal(failure.code, "IDENTITY_UNAVAILABLE");
});

test("a new pair is taken by the watch, once, and told to listeners", async () => {
  const folder = await folderWith();
  const { source, events, told } = await open(folder, systemClock);
  const before = source.get();
  const heard: number[] = [];
  const stop = source.onChange((identity) => heard.push(identity.version));
  // Between the files the pair does not match; a look that falls there says so and keeps the old one.
  await writeIdentityFolder(folder, second, authority);
  await told("changed");
  assert(events.every(({ kind }) => kind === "changed" || kind === "kept"));
  const now = source.get();
  assert.equal(now.svid.chain[0]?.serialNumber, second.leaf.serialNumber);
  assert(now.version > before.version);
  assert.deepEqual(heard, [now.version]);
  stop();
  await writeIdentityFolder(folder, first, authority);
  await source.reload();
  assert.equal(heard.length, 1, "nobody listens any more");
});

test("without the watch the poll finds it", async () => {
  const folder = await folderWith();
  const clock = new FakeClock(Date.now());
  const { source, told } = await open(folder, clock);
  const moved = join(root, "moved-away");
  // The watch stays with the folder that was moved; the name now means another one.
  await cp(folder, `${folder}-new`, { recursive: true });
  await writeIdentityFolder(`${folder}-new`, second, authority);
  await rename(folder, moved);
  await rename(`${folder}-new`, folder);
  clock.advance(30_000);
  await told("changed");
  assert.equal(source.get().svid.chain[0]?.serialNumber, second.leaf.serialNumber);
});

test("Kubernetes: the link ..data is swapped", async () => {
  const folder = join(root, "swapped-link");
  await writeIdentityFolder(join(folder, "..one"), first, authority, "certManager");
  await writeIdentityFolder(join(folder, "..two"), second, authority, "certManager");
  await symlink("..one", join(folder, "..data"));
  for (const file of LAYOUTS.certManager) await symlink(join("..data", file), join(folder, file));
  const { source, told } = await open(folder, systemClock);
  await symlink("..two", join(folder, "..data_tmp"));
  await rename(join(folder, "..data_tmp"), join(folder, "..data"));
  await told("changed");
  assert.equal(source.get().svid.chain[0]?.serialNumber, second.leaf.serialNumber);
});

const weak = await testAuthority("ours.test", { key: "RSA-1024" });
const underWeak = await mintSvid(weak, name);

const faults: readonly [what: string, harm: (folder: string) => Promise<void>, reason: RegExp][] = [
  [
    "a key without its certificate",
    (at) => writeWhole(join(at, "key.pem"), second.keyPem, 0o600),
    /not the certificate's/,
  ],
  [
    "a certificate without its key",
    (at) => writeWhole(join(at, "svid.pem"), second.chainPem, 0o644),
    /not the certificate's/,
  ],
  ["half a certificate", (at) => writeFile(join(at, "svid.pem"), second.chainPem.slice(0, 200)), /cut short/],
  [
    "an intermediate that TLS would not send",
    async (at) => {
      await writeWhole(join(at, "key.pem"), underWeak.keyPem, 0o600);
      await writeWhole(join(at, "svid.pem"), underWeak.chainPem, 0o644);
    },
    /certificate 2 of the chain: an RSA key of 1024 bits is too weak/,
  ],
  ["a key opened to others", (at) => chmod(join(at, "key.pem"), 0o644), /mode 0644/],
  ["a bundle emptied", (at) => writeFile(join(at, "bundle.pem"), ""), /holds no certificate/],
  ["a file taken away", (at) => rm(join(at, "bundle.pem")), /expected one of/],
  ["the folder taken away", (at) => rm(at, { recursive: true }), /ENOENT/],
];
for (const [what, harm, reason] of faults) {
  test(`${what} keeps the old identity, says so once, and heals`, async () => {
    const folder = await folderWith();
    const { source, events } = await open(folder);
    const before = source.get();
    await harm(folder);
    await source.reload();
    await source.reload();
    assert.equal(source.get(), before);
    assert.equal(events.length, 1);
    const [event] = events;
    assert(event?.kind === "kept");
    assert.match(event.failure.detail, reason);
    await writeIdentityFolder(folder, second, authority);
    await source.reload();
    assert.equal(events.at(-1)?.kind, "changed");
    assert.equal(source.get().svid.chain[0]?.serialNumber, second.leaf.serialNumber);
  });
}

test("an expired pair never replaces a valid one", async () => {
  const folder = await folderWith();
  const { source, events } = await open(folder);
  await writeIdentityFolder(
    folder,
    await mintSvid(authority, name, { notAfter: new Date(Date.now() - 1000) }),
    authority,
  );
  await source.reload();
  assert.equal(source.get().svid.chain[0]?.serialNumber, first.leaf.serialNumber);
  assert(events[0]?.kind === "kept");
  assert.equal(events[0].failure.code, "IDENTITY_EXPIRED");
});

test("files that return to what is in use are no change", async () => {
  const folder = await folderWith();
  const { source, events } = await open(folder);
  const before = source.get();
  await chmod(join(folder, "key.pem"), 0o644);
  await source.reload();
  await chmod(join(folder, "key.pem"), 0o600);
  await source.reload();
  assert.equal(source.get(), before);
  assert.deepEqual(
    events.map((event) => event.kind),
    ["kept"],
  );
});

test("a root that is taken out loses its trust at once, although our own certificate hangs on it", async () => {
  const folder = await folderWith();
  const { source, events } = await open(folder);
  const successor = await testAuthority("ours.test");
  await writeWhole(join(folder, "bundle.pem"), successor.bundlePem, 0o644);
  await source.reload();
  assert.deepEqual(
    events.map((event) => event.kind),
    ["changed", "doubtful"],
  );
  const [bundle] = source.get().bundles.values();
  assert.equal(bundle?.pem.trim(), successor.bundlePem.trim());
});

test("the end of validity is told once", async () => {
  const folder = await folderWith();
  const clock = new FakeClock(Date.now());
  const { source, events, told } = await open(folder, clock);
  clock.advance(25 * 3_600_000);
  await told("expired");
  await source.reload();
  assert.equal(events.length, 1);
});

test("a look that a listener breaks is not the last one", async () => {
  const folder = await folderWith();
  const { source } = await open(folder);
  const stop = source.onChange(() => {
    throw new Error("listener");
  });
  await writeIdentityFolder(folder, second, authority);
  await assert.rejects(source.reload(), /^Error: listener$/);
  stop();
  await writeIdentityFolder(folder, first, authority);
  await source.reload();
  assert.equal(source.get().svid.chain[0]?.serialNumber, first.leaf.serialNumber);
});

test("a closed source is silent and leaves no timer", async () => {
  const folder = await folderWith();
  const clock = new FakeClock(Date.now());
  const { source, events } = await open(folder, clock);
  const look = source.reload();
  source.close();
  await writeFile(join(folder, "svid.pem"), "");
  await look;
  await source.reload();
  assert.deepEqual(events, []);
  assert.equal(clock.pending, 0);
});

test("a look asked for during a look sees what was written before it was asked for", async () => {
  const folder = await folderWith();
  const { source } = await open(folder);
  const early = source.reload();
  await writeIdentityFolder(folder, second, authority);
  await Promise.all([early, source.reload()]);
  assert.equal(source.get().svid.chain[0]?.serialNumber, second.leaf.serialNumber);
  assert.equal(await readFile(join(folder, "key.pem"), "utf8"), second.keyPem);
});
