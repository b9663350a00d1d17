import assert from "node:assert/strict";
import { test } from "node:test";
import { loadOne } from "../../load.ts";
import { packFile } from "../../last-good-format.ts";
import { withoutSecrets } from "./without-secrets.ts";

function kept(document: object): string {
  const loaded = loadOne("f.json", Buffer.from(JSON.stringify(document)));
  assert.ok(loaded !== undefined && "kind" in loaded);
  return Buffer.from(packFile("f.json", [withoutSecrets(loaded)])).toString("latin1");
}

const SECRET = {
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name: "a", annotations: { "kubectl.kubernetes.io/last-applied-configuration": "hidden" } },
  data: { "ca.crt": "public", "tls.key": "hidden" },
  stringData: { password: "hidden" },
};

test("of a Secret its certificates alone are kept", () => {
  for (const document of [SECRET, { apiVersion: "v1", kind: "List", items: [SECRET] }]) {
    assert.match(kept(document), /public/);
    assert.doesNotMatch(kept(document), /hidden/);
  }
  assert.doesNotMatch(kept({ kind: "SecretList", items: [{ ...SECRET, kind: undefined }] }), /hidden/);
  assert.doesNotMatch(kept({ kind: "Secret", data: "hidden" }), /hidden/);
});

test("other documents stay whole", () => {
  assert.match(kept({ ...SECRET, kind: "ConfigMap" }), /hidden/);
});
