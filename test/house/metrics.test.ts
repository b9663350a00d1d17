// House rules about metrics: all are registered where the documentation finds them, and are named as the mesh names them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { allMetrics } from "../docs/metrics-page.ts";
import { productSources } from "./sources.ts";

const REGISTRARS: ReadonlySet<string> = new Set([
  "shared/src/observe/tcp-metrics.ts",
  "shared/src/observe/request-metrics.ts",
  "shared/src/observe/dns-metrics.ts",
  "shared/src/observe/pool-metrics.ts",
  "shared/src/observe/mirror-metrics.ts",
  "shared/src/observe/rule-metrics.ts",
  "shared/src/observe/tenant-metrics.ts",
  "shared/src/observe/proxy-metrics.ts",
  "shared/src/observe/stream-metrics.ts",
  "deploy/authority/src/observe/authority-metrics.ts",
]);

test("metrics are registered in few files, so that the documentation has them all", () => {
  const wrong = productSources()
    .filter(({ code }) => /\b[mM]etrics\.(counter|gauge|histogram|observe|observeAll|observeTotal)\(/.test(code))
    .map(({ path }) => path)
    .filter((path) => !REGISTRARS.has(path));
  assert.deepEqual(wrong, []);
});

test("names are Istio's, the process's, or begin with culvert_; counters end in _total", () => {
  for (const { name, kind, help } of allMetrics()) {
    assert.match(name, /^(istio|process|culvert)_[a-z_]+$/);
    assert.equal(name.endsWith("_total"), kind === "counter", name);
    assert.match(help, /^[A-Z0-9].*\.$/, name);
  }
});
