// The informational fields of a tunnel request, as ztunnel writes them, and as a hostile peer does.
import { deepEqual, equal, notEqual } from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  formatBaggage,
  forwardedHost,
  newTraceparent,
  parseBaggage,
  parseTraceparent,
  tunnelHeaders,
} from "./headers.ts";

test("writes what ztunnel writes", () => {
  const baggage = formatBaggage(
    new Map([
      ["k8s.namespace.name", "default"],
      ["k8s.deployment.name", "reviews"],
      ["service.name", ""],
      ["cloud.region", "has space"],
    ]),
  );
  deepEqual(tunnelHeaders({ clientAddress: "10.0.0.1", clientPort: 4711, serviceHost: "reviews.default", baggage }), {
    forwarded: 'for="10.0.0.1:4711";host=reviews.default',
    baggage: "k8s.namespace.name=default,k8s.deployment.name=reviews",
  });
  equal(tunnelHeaders({ clientAddress: "fd00::1", clientPort: 1 })["forwarded"], 'for="[fd00::1]:1"');
  const nameless = tunnelHeaders({ clientAddress: "0.0.0.0", clientPort: 0, serviceHost: "reviews.default" });
  equal(nameless["forwarded"], "for=unknown;host=reviews.default");
  equal(forwardedHost(nameless["forwarded"]), "reviews.default");
});

test("reads the host of the first element of forwarded and nothing malformed", () => {
  equal(forwardedHost('for="10.0.0.1:4711";host=reviews.default'), "reviews.default");
  equal(forwardedHost('For="[fd00::1]:80"; Host="a.b"'), "a.b");
  equal(forwardedHost("host=a, host=b"), "a");
  for (const bad of ["host=", 'host="a b"', "host=a/b", "host=a;host=b", "host=a\0", `host=${"a".repeat(254)}`]) {
    equal(forwardedHost(bad), undefined, bad);
  }
  for (const bad of ["", "host", "for=1.2.3.4", `host=a;by=${"b".repeat(10_000)}`])
    equal(forwardedHost(bad), undefined);
  equal(forwardedHost(undefined), undefined);
});

test("reads baggage from several lines within bounds", () => {
  deepEqual(
    [...parseBaggage(["a=1, b = 2 ;p=q", "c=3,a=4,,=,d=,=e"])],
    [
      ["a", "1"],
      ["b", "2"],
      ["c", "3"],
    ],
  );
  equal(parseBaggage("x".repeat(9_000)).size, 0);
  equal(parseBaggage(Array.from({ length: 1_000 }, (_, i) => `k${i}=v`)).size, 32);
  equal(parseBaggage(`a=${"x".repeat(300)}`).size, 0);
  equal(parseBaggage("__proto__=1").get("__proto__"), "1");
});

test("takes a traceparent of version 00 only", () => {
  const good = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  equal(parseTraceparent(good), good);
  const bad = [`01${good.slice(2)}`, good.toUpperCase(), `00-${"0".repeat(32)}-${"b".repeat(16)}-01`, `${good}-x`, ""];
  for (const value of bad) equal(parseTraceparent(value), undefined, value);
  equal(parseTraceparent([good, good]), undefined);
});

test("no field value throws, and what is written is read back", () => {
  const anything = fc.string({ unit: "binary", maxLength: 200 });
  fc.assert(
    fc.property(anything, (value) => {
      forwardedHost(value);
      return parseBaggage(value).size <= 32;
    }),
  );
  const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,20}$/);
  fc.assert(
    fc.property(fc.dictionary(name, name, { maxKeys: 20 }), (object) => {
      const members = new Map(Object.entries(object));
      deepEqual([...parseBaggage(formatBaggage(members))], [...members]);
    }),
  );
});

test("a new traceparent is one, and each is another", () => {
  const [one, two] = [newTraceparent(), newTraceparent()];
  equal(parseTraceparent(one), one);
  notEqual(one, two);
});
