import assert from "node:assert/strict";
import { test } from "node:test";
import { backendTls } from "@culvert/test/support/fixtures.ts";
import { service, servicePort } from "../mesh-fixtures.ts";
import { BackendTlsIndex } from "./backend-tls.ts";

const reviews = service("default/reviews");
const https = servicePort({ name: "https", port: 443 });
const other = servicePort({ name: "other", port: 444 });
const target = (name: string, sectionName?: string) => ({ name, sectionName });

test("the policy of a port goes before that of its Service, the oldest before the others", () => {
  const index = new BackendTlsIndex([
    backendTls("young", "reviews.example", { createdAt: 2 }),
    backendTls("old", "reviews.example", { createdAt: 1 }),
    backendTls("port", "reviews.example", { createdAt: 3, targets: [target("reviews", "https")] }),
    backendTls("elsewhere/r", "reviews.example"),
  ]);
  assert.equal(index.of(reviews, https)?.policy.name, "port");
  assert.equal(index.of(reviews, other)?.policy.name, "old");
  assert.equal(index.of(service("default/ratings"), https), undefined);
  assert.equal(index.of(service("elsewhere/reviews"), https)?.policy.name, "r");
  assert.equal(index.of(reviews, other), index.of(reviews, other));
});

test("the key is the same for the same policy, and another as soon as anything that counts is", () => {
  const policy = backendTls("p", "reviews.example");
  const key = (parts: Parameters<typeof backendTls>[2]): string | undefined =>
    new BackendTlsIndex([{ ...policy, ...parts }]).of(reviews, https)?.key;
  const usual = key({});
  assert.ok(usual !== undefined);
  assert.equal(key({ createdAt: 7 }), usual);
  const names = [{ type: "uri", value: "spiffe://a" }] as const;
  const others = [key({ hostname: "x.example" }), key({ roots: ["pem"] }), key({ subjectAltNames: names })];
  assert.equal(new Set([usual, ...others]).size, 4);
});
