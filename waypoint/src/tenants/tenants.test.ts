import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSpiffeId, parseTrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { registerTenantMetrics } from "@culvert/shared/observe/tenant-metrics.ts";
import { id } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { tenantName, Tenants } from "./tenants.ts";

const DOMAIN = must(parseTrustDomain("cluster.local"));
const LIMITS = { by: "namespace", requests: 8, heldBytes: 1_000 } as const;

test("a tenant is a namespace or an account; those of other trust domains are others", () => {
  const foreign = must(parseSpiffeId("spiffe://elsewhere.org/ns/shop/sa/curl"));
  assert.equal(tenantName(id("shop/curl"), DOMAIN, "namespace"), "shop");
  assert.equal(tenantName(id("shop/curl"), DOMAIN, "account"), "shop/curl");
  assert.equal(tenantName(foreign, DOMAIN, "namespace"), "elsewhere.org/shop");
  assert.equal(tenantName(foreign, DOMAIN, "account"), "elsewhere.org/shop/curl");
});

test("all accounts of a namespace are one tenant, which is told by code and by name what is over its share", () => {
  const tenants = new Tenants(LIMITS);
  const tenant = tenants.of(id("shop/curl"), DOMAIN);
  assert.equal(tenants.of(id("shop/other"), DOMAIN), tenant);
  for (let i = 0; i < 4; i += 1) assert.equal(tenant.begin(), undefined);
  const failure = tenant.begin();
  assert.equal(failure?.code, "TENANT_OVER_SHARE");
  assert.equal(failure.detail, "4 requests of shop in flight");
  assert.equal(tenants.of(id("other/curl"), DOMAIN).begin(), undefined);
});

test("what idle tenants were is forgotten when there are many, and never what one holds", () => {
  const tenants = new Tenants(LIMITS);
  const busy = tenants.of(id("busy/curl"), DOMAIN);
  const idle = tenants.of(id("idle/curl"), DOMAIN);
  busy.begin();
  for (let i = 0; i < 3_000; i += 1) tenants.of(id(`n${i}/curl`), DOMAIN);
  assert.ok([...tenants].length <= 1_024);
  assert.equal(tenants.again(busy), busy);
  assert.notEqual(tenants.again(idle), idle);
  assert.equal(tenants.again(idle), tenants.of(id("idle/curl"), DOMAIN));
});

test("metrics tell of each tenant, and of many of them as one", () => {
  const tenants = new Tenants({ ...LIMITS, requests: 10_000 });
  const metrics = new Metrics({ clock: new FakeClock() });
  registerTenantMetrics(metrics, tenants);
  for (let i = 0; i < 300; i += 1) tenants.of(id(`n${i}/curl`), DOMAIN).begin();
  const first = tenants.of(id("n0/curl"), DOMAIN);
  first.hold(500);
  first.hold(1);
  const text = metrics.render("prometheus");
  assert.match(text, /^culvert_tenant_requests\{tenant="n0"\} 1$/m);
  assert.match(text, /^culvert_tenant_requests\{tenant="other"\} 100$/m);
  assert.match(text, /^culvert_tenant_held_bytes\{tenant="n0"\} 500$/m);
  assert.match(text, /^culvert_tenant_refused_total\{tenant="n0",what="bodies"\} 1$/m);
  assert.equal(text.match(/^culvert_tenant_requests\{/gm)?.length, 201);
});
