import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { systemClock } from "../net/clock.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { lifecycleHandlers, loggingHandlers } from "./admin-handlers.ts";
import { serveAdmin } from "./admin.ts";
import type { AdminHandler } from "./admin.ts";
import type { HttpEndpoint, HttpListen } from "./http-endpoint.ts";
import { Log } from "./log.ts";
import { ask } from "./http-fixtures.ts";

const log = new Log({ level: "info", clock: new FakeClock(), write: () => undefined });
const did: string[] = [];
const failures: Failure[] = [];
const handlers: readonly AdminHandler[] = [
  {
    method: "GET",
    path: "/explain",
    about: "why",
    handle: (query) => ({ status: 200, body: { to: query.get("to") } }),
  },
  {
    method: "GET",
    path: "/leak",
    about: "a mistake",
    handle: () => ({ status: 200, body: { key: "-----BEGIN PRIVATE KEY-----" } }),
  },
  ...loggingHandlers(log),
  ...lifecycleHandlers({ drain: () => did.push("drain"), quit: () => did.push("quit") }),
];

function serve(listen: HttpListen): Promise<HttpEndpoint | Failure> {
  return serveAdmin({ listen, handlers, clock: systemClock, onError: (failure) => failures.push(failure) });
}

const endpoint = await serve({ host: "127.0.0.1", port: 0 });
assert(!isFailure(endpoint));
after(() => endpoint.close());
const { address } = endpoint;

describe("who may ask", () => {
  const rows: readonly [string, string, number][] = [
    ["curl on this host", "Host: localhost:15000\r\n", 200],
    ["by address", "Host: 127.0.0.1:15000\r\n", 200],
    ["by another loopback address", "Host: 127.9.9.9\r\n", 200],
    ["by IPv6 address", "Host: [::1]:15000\r\n", 200],
    ["by IPv6 address without port", "Host: [::1]\r\n", 200],
    ["by a name that was made to point here", "Host: evil.example:15000\r\n", 403],
    ["by a name that begins like ours", "Host: localhost.evil.example\r\n", 403],
    ["by a name that begins like an address", "Host: 127.0.0.1.evil.example\r\n", 403],
    ["by the pod's address", "Host: 10.0.0.5:15000\r\n", 403],
    ["by no address", "Host: 0.0.0.0:15000\r\n", 403],
    ["with userinfo", "Host: localhost@evil.example\r\n", 403],
    ["with an empty Host", "Host: \r\n", 403],
    ["from a page of another origin", "Host: localhost\r\nOrigin: https://evil.example\r\n", 403],
    ["from a sandboxed page", "Host: localhost\r\nOrigin: null\r\n", 403],
    ["from a page, as an image", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403],
    ["typed into a browser", "Host: localhost\r\nSec-Fetch-Site: none\r\n", 200],
  ];
  for (const [name, headers, expected] of rows) {
    it(`${name}: ${expected}`, async () => {
      assert.equal((await ask(address, "GET /logging", headers)).status, expected);
    });
  }
});

describe("a change", () => {
  const sure = "Host: localhost\r\nculvert-admin: 1\r\n";
  const rows: readonly [string, string, string, number][] = [
    ["needs the header", "POST /quitquitquit", "Host: localhost\r\n", 403],
    ["needs the header's value", "POST /quitquitquit", "Host: localhost\r\nculvert-admin: yes\r\n", 403],
    ["is not made by GET", "GET /quitquitquit", sure, 405],
    ["is not made by HEAD", "HEAD /drain", sure, 405],
    ["is not made by PUT", "PUT /drain", sure, 405],
    ["is not made under another Host", "POST /drain", "Host: evil.example\r\nculvert-admin: 1\r\n", 403],
    [
      "is not made by a form",
      "POST /drain",
      "Host: localhost\r\nOrigin: http://localhost\r\nculvert-admin: 1\r\n",
      403,
    ],
  ];
  for (const [name, line, headers, expected] of rows) {
    it(`${name}: ${expected}`, async () => {
      assert.equal((await ask(address, line, headers)).status, expected);
      assert.deepEqual(did, []);
      assert.equal(log.level, "info");
    });
  }

  it("is made by POST with the header", async () => {
    assert.equal((await ask(address, "POST /logging?level=debug", sure)).status, 200);
    assert.equal(log.level, "debug");
    assert.equal((await ask(address, "POST /logging?level=loud", sure)).status, 400);
    assert.equal((await ask(address, "POST /logging", sure)).status, 400);
    assert.equal(log.level, "debug");
    assert.equal((await ask(address, "POST /drain", sure)).status, 200);
    assert.equal((await ask(address, "POST /quitquitquit", sure)).status, 200);
    assert.deepEqual(did, ["drain", "quit"]);
  });
});

describe("an answer", () => {
  it("is JSON, never HTML, whatever was asked", async () => {
    const { status, head, body } = await ask(address, "GET /explain?to=%3Cscript%3Ealert(1)%3C/script%3E");
    assert.equal(status, 200);
    assert.match(head, /content-type: application\/json\r\n/i);
    assert.match(head, /x-content-type-options: nosniff/i);
    assert.deepEqual(JSON.parse(body), { to: "<script>alert(1)</script>" });
  });

  it("lists what there is at /, and repeats nothing of a path that is not there", async () => {
    const { body } = await ask(address, "GET /");
    const table = JSON.parse(body) as Record<string, string>;
    assert.equal(table["POST /drain"], "stops taking new work and lets the present end; the process stays");
    const lost = await ask(address, "GET /<script>");
    assert.equal(lost.status, 404);
    assert.doesNotMatch(lost.body, /script/);
  });

  it("says which methods a path takes", async () => {
    const { status, head } = await ask(address, "DELETE /logging");
    assert.equal(status, 405);
    assert.match(head, /allow: GET, POST/i);
  });

  it("never holds a private key", async () => {
    const { status, body } = await ask(address, "GET /leak");
    assert.equal(status, 500);
    assert.doesNotMatch(body, /KEY/);
    assert.equal(failures.at(-1)?.code, "INTERNAL");
  });
});

describe("the address", () => {
  it("is loopback or a UNIX socket, or none", async () => {
    for (const host of ["", "0.0.0.0", "::", "10.0.0.5", "example.com"]) {
      const refused = await serve({ host, port: 0 });
      assert(isFailure(refused), host);
      assert.equal(refused.code, "PORT_UNAVAILABLE");
    }
    for (const host of ["localhost", "127.0.0.2"]) {
      const bound = await serve({ host, port: 0 });
      assert(!isFailure(bound), host);
      await bound.close();
    }
  });

  it("may be a UNIX socket, which no page can reach, so any Host will do", async () => {
    const folder = mkdtempSync(join(tmpdir(), "culvert-admin-"));
    try {
      const bound = await serve({ path: join(folder, "admin.sock") });
      assert(!isFailure(bound));
      assert.equal((await ask(bound.address, "GET /logging", "Host: admin\r\n")).status, 200);
      await bound.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
