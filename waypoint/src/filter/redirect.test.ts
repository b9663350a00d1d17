import assert from "node:assert/strict";
import { test } from "node:test";
import type { Redirect } from "@culvert/shared/config/http-route.ts";
import { redirectLocation, type Redirected } from "./redirect.ts";

const NOTHING: Redirect = { scheme: undefined, host: undefined, port: undefined, path: undefined, status: 302 };
const ASKED: Redirected = { scheme: "http", hostname: "echo", port: 80, path: "/p/x", query: "?q=1", prefix: "/p" };

function location(redirect: Partial<Redirect>, asked: Partial<Redirected> = {}): string {
  return redirectLocation({ ...ASKED, ...asked }, { ...NOTHING, ...redirect });
}

test("what a redirect does not name stays as it was asked for, the query too", () => {
  assert.equal(location({}), "http://echo/p/x?q=1");
  assert.equal(location({ host: "example.org" }), "http://example.org/p/x?q=1");
  assert.equal(location({ path: { kind: "full", value: "/full" } }), "http://echo/full?q=1");
  assert.equal(location({ path: { kind: "prefix", value: "/new" } }), "http://echo/new/x?q=1");
  assert.equal(location({ port: 8083 }), "http://echo:8083/p/x?q=1");
  assert.equal(location({ scheme: "https", host: "example.org" }), "https://example.org/p/x?q=1");
  assert.equal(location({}, { hostname: "fd00::1", port: 8080 }), "http://[fd00::1]:8080/p/x?q=1");
});

test("the port: the filter's, else that of its scheme, else the one that was asked; a scheme's own is not written", () => {
  const http = "http://example.org";
  const https = "https://example.org";
  const table: readonly [asked: Partial<Redirected>, redirect: Partial<Redirect>, result: string][] = [
    [{ port: 80 }, {}, http],
    [{ port: 80 }, { port: 80 }, http],
    [{ port: 80 }, { port: 8080 }, `${http}:8080`],
    [{ port: 80 }, { scheme: "https" }, https],
    [{ port: 80 }, { scheme: "https", port: 443 }, https],
    [{ port: 80 }, { scheme: "https", port: 8443 }, `${https}:8443`],
    [{ port: 8080 }, {}, `${http}:8080`],
    [{ port: 8080 }, { port: 80 }, http],
    [{ port: 8080 }, { scheme: "https" }, https],
    [{ scheme: "https", port: 443 }, {}, https],
    [{ scheme: "https", port: 443 }, { port: 443 }, https],
    [{ scheme: "https", port: 443 }, { port: 8443 }, `${https}:8443`],
    [{ scheme: "https", port: 443 }, { scheme: "http" }, http],
    [{ scheme: "https", port: 443 }, { scheme: "http", port: 80 }, http],
    [{ scheme: "https", port: 443 }, { scheme: "http", port: 8080 }, `${http}:8080`],
  ];
  for (const [asked, redirect, result] of table) {
    const found = location({ host: "example.org", ...redirect }, { path: "/", query: "", ...asked });
    assert.equal(found, `${result}/`, JSON.stringify([asked, redirect]));
  }
});
