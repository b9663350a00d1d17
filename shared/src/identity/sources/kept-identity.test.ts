// What a source keeps on the disk, and what it makes of what it finds there.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { must } from "@culvert/test/support/must.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../../failure/failure.ts";
import {
  down,
  HOUR_MS,
  impostor,
  issue,
  lab,
  moving,
  ours,
  ratings,
  refused,
  reviews,
  tokenOf,
} from "./ca-source-fixtures.ts";
import { accountIn } from "./open-authority.ts";

test("what is kept makes a restart independent of token and authority", async (context) => {
  const one = lab(context);
  const store = join(one.folder, "kept", "identity.pem");
  const first = must(await one.open({ store }));
  assert.equal(statSync(store).mode & 0o777, 0o600);
  assert.equal(statSync(join(one.folder, "kept")).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(join(one.folder, "kept")), ["identity.pem"]);
  first.close();
  rmSync(join(one.folder, "token"));
  one.part = async () => down;
  const again = must(await one.open({ store }));
  assert.equal(again.get().svid.chainPem, first.get().svid.chainPem);
  assert.deepEqual(one.requests.length, 1);
  // Half of what remains is when it is renewed, by what is kept.
  one.part = issue(one.clock);
  one.clock.advance(HOUR_MS / 2);
  await moving(one.clock, "the renewal", () => again.get().svid.chainPem !== first.get().svid.chainPem);
  assert.equal(one.requests.at(-1)?.token, undefined);
  assert(readFileSync(store, "utf8").includes(again.get().svid.chainPem));
});

test("what an authority gave that was made anew since gives way to the token at once, and stays where the token is spent", async (context) => {
  const one = lab(context);
  const store = join(one.folder, "identity.pem");
  const first = must(await one.open({ store, roots: ours.bundlePem }));
  first.close();
  // Its own roots: the certificate is proof enough, and no token is spent.
  must(await one.open({ store, roots: ours.bundlePem })).close();
  assert.equal(one.requests.length, 1);
  assert.deepEqual(one.codes("doubtful"), []);

  one.part = async () => refused;
  const spent = must(await one.open({ store, roots: impostor.bundlePem }));
  await until("the try", () => spent.state.failures > 0);
  assert.equal(one.requests.at(-1)?.token, "one-time");
  assert.equal(spent.get().svid.chainPem, first.get().svid.chainPem);
  assert.deepEqual(one.codes("doubtful"), ["IDENTITY_UNTRUSTED"]);
  spent.close();

  one.part = issue(one.clock, reviews, {}, impostor);
  const anew = must(await one.open({ store, roots: impostor.bundlePem }));
  await until("the new one", () => anew.get().svid.chainPem !== first.get().svid.chainPem);
  assert.equal(one.requests.at(-1)?.token, "one-time");
  assert(readFileSync(store, "utf8").includes(anew.get().svid.chainPem));
});

test("what is kept and has ended, is cut or is another's is not used", async (context) => {
  const one = lab(context);
  const store = join(one.folder, "identity.pem");
  must(await one.open({ store })).close();
  const good = readFileSync(store, "utf8");

  writeFileSync(store, good.slice(0, good.length / 2));
  must(await one.open({ store })).close();
  assert.equal(one.requests.length, 2, "cut: asked anew");
  assert.equal(one.codes("awaited").length, 1);

  one.clock.advance(2 * HOUR_MS);
  must(await one.open({ store })).close();
  assert.equal(one.requests.length, 3, "ended: asked anew");
  assert.equal(one.codes("awaited")[1], "IDENTITY_EXPIRED");

  // A folder of the node that another workload has used before.
  one.part = issue(one.clock, ratings);
  writeFileSync(join(one.folder, "token"), tokenOf("ratings"));
  const istio = { renewsByCertificate: false, expected: (text: string) => accountIn(text, ours.trustDomain) };
  const source = must(await one.open({ store, ...istio }));
  assert.equal(source.get().svid.id, ratings);
  assert.equal(one.codes("awaited")[2], "IDENTITY_MISMATCH");
  source.close();

  rmSync(store);
  writeFileSync(store, good, { mode: 0o644 });
  const failure = await one.open({ store });
  assert(isFailure(failure));
  assert.match(failure.detail, /mode 0644/);
});

test("a disk that takes nothing costs no identity", async (context) => {
  const one = lab(context);
  const kept = join(one.folder, "kept");
  const source = must(await one.open({ store: join(kept, "identity.pem") }));
  const first = source.get();
  rmSync(kept, { recursive: true });
  writeFileSync(kept, "a file where the folder was");
  await source.reload();
  assert.deepEqual(one.codes("doubtful"), ["IDENTITY_UNAVAILABLE"]);
  assert.notEqual(source.get(), first);
  assert.equal(source.state.failures, 0);
});
