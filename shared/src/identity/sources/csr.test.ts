import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { test } from "node:test";
import { must } from "@culvert/test/support/must.ts";
import { parseSpiffeId } from "../spiffe-id.ts";
import { newKeyAndRequest } from "./csr.ts";

const id = must(parseSpiffeId("spiffe://ours.test/ns/default/sa/reviews"));

/** What OpenSSL says of a request; it must find its signature right. */
function asOpensslSees(csrPem: string): string {
  const args = ["req", "-verify", "-noout", "-text", "-pubkey"];
  const { status, stdout, stderr } = spawnSync("openssl", args, { input: csrPem, encoding: "utf8" });
  assert.equal(status, 0, stderr);
  assert.match(stderr + stdout, /verify OK/);
  return stdout;
}

test("a request proves its key and names the workload, critically, and nothing else", () => {
  const { csrPem, keyPem } = newKeyAndRequest(id);
  const text = asOpensslSees(csrPem);
  assert.match(text, /Subject: *\n/);
  assert.match(text, new RegExp(`X509v3 Subject Alternative Name: critical\\s+URI:${id}\\n`));
  assert.equal(text.match(/X509v3/g)?.length, 1);
  const key = createPrivateKey(keyPem);
  assert.equal(key.asymmetricKeyDetails?.namedCurve, "prime256v1");
  assert(text.includes(createPublicKey(key).export({ type: "spki", format: "pem" })));
  assert.notEqual(newKeyAndRequest(id).keyPem, keyPem);
});

test("IDs of every length fit, and none at all", () => {
  for (const length of [1, 107, 108, 200, 233, 234, 2_048 - "spiffe://ours.test/".length]) {
    const each = must(parseSpiffeId(`spiffe://ours.test/${"a".repeat(length)}`));
    assert(asOpensslSees(newKeyAndRequest(each).csrPem).includes(`URI:${each}\n`));
  }
  assert(!asOpensslSees(newKeyAndRequest(undefined).csrPem).includes("URI:"));
});
