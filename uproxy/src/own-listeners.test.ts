import assert from "node:assert/strict";
import { test } from "node:test";
import { isOwnApp, leadsBack } from "./own-listeners.ts";

const tcp = (host: string, port: number) => ({ kind: "tcp", host, port }) as const;
const LISTENERS = [tcp("", 15008), tcp("127.0.0.1", 15000), tcp("localhost", 9080), tcp("::1", 9081)];
const ADDRESSES = new Set(["10.0.0.5"]);

const own = (host: string, port: number): boolean => isOwnApp(LISTENERS, host, port);
const back = (host: string, port: number): boolean => leadsBack(LISTENERS, ADDRESSES, host, port);

test("an app that configuration names is not mistaken for a listener, whatever the spelling", () => {
  assert.equal(own("127.0.0.1", 15000), true);
  assert.equal(own("localhost", 15000), true, "localhost is 127.0.0.1");
  assert.equal(own("127.0.0.1", 9080), true, "127.0.0.1 may be localhost");
  assert.equal(own("localhost", 9081), true);
  assert.equal(own("app.internal", 15008), true);
  assert.equal(own("10.0.0.5", 15000), false);
  assert.equal(own("127.0.0.1", 9081), false, "the listener is on IPv6 alone");
  assert.equal(own("localhost", 8080), false);
});

test("a destination leads back only if it is this host and that listener", () => {
  assert.equal(back("10.0.0.5", 15008), true);
  assert.equal(back("::1", 15008), true);
  assert.equal(back("localhost", 15008), true);
  assert.equal(back("10.0.0.6", 15008), false, "another host's tunnel port");
  assert.equal(back("example.com", 15008), false);
  assert.equal(back("127.0.0.1", 15000), true);
  assert.equal(back("localhost", 15000), true);
  assert.equal(back("127.0.0.1", 9080), true);
  assert.equal(back("10.0.0.5", 15000), false, "the listener is on loopback alone");
  assert.equal(back("127.0.0.2", 15000), false);
  assert.equal(back("example.com", 9080), false);
});
