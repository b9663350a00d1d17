import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync, existsSync } from "node:fs";
import { connect } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { systemClock } from "../net/clock.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { listenHttp, plainReply } from "./http-endpoint.ts";
import type { HttpEndpoint, HttpHandler, HttpListen } from "./http-endpoint.ts";
import { ask, exchange } from "./http-fixtures.ts";

const ANY: HttpListen = { host: "127.0.0.1", port: 0 };
const open: HttpEndpoint[] = [];
after(() => Promise.all(open.map((endpoint) => endpoint.close())));

async function serve(handle: HttpHandler, more: { listen?: HttpListen; clock?: FakeClock } = {}) {
  const failures: Failure[] = [];
  const endpoint = await listenHttp({
    listen: more.listen ?? ANY,
    handle,
    clock: more.clock ?? systemClock,
    onError: (failure) => failures.push(failure),
  });
  assert(!isFailure(endpoint));
  open.push(endpoint);
  return { endpoint, address: endpoint.address, failures };
}

const echo: HttpHandler = ({ method, path, query }) => plainReply(200, `${method} ${path} ${query.get("a") ?? "-"}`);

describe("an answer", () => {
  it("is whole, not cached, not guessed at", async () => {
    const { address } = await serve(echo);
    const { status, head, body } = await ask(address, "GET /x/y?a=1%202&b=3");
    assert.equal(status, 200);
    assert.equal(body, "GET /x/y 1 2\n");
    for (const line of [/content-length: 13/i, /cache-control: no-store/i, /x-content-type-options: nosniff/i]) {
      assert.match(head, line);
    }
  });

  it("has no body when it is to HEAD", async () => {
    const { address } = await serve(echo);
    const { status, head, body } = await ask(address, "HEAD /x");
    assert.equal(status, 200);
    assert.match(head, /content-length: 10/i);
    assert.equal(body, "");
  });

  it("is 500 without particulars when a handler fails, and the log gets them", async () => {
    const { address, failures } = await serve(({ path }) => {
      if (path === "/late") return Promise.reject(new Error("secret"));
      throw new Error("secret");
    });
    for (const path of ["/now", "/late"]) {
      const { status, body } = await ask(address, `GET ${path}`);
      assert.equal(status, 500);
      assert.doesNotMatch(body, /secret/);
    }
    assert.deepEqual(
      failures.map((failure) => [failure.code, failure.detail]),
      [
        ["INTERNAL", "GET /now: secret"],
        ["INTERNAL", "GET /late: secret"],
      ],
    );
  });

  it("is 503 when a handler takes too long", async () => {
    const clock = new FakeClock();
    const asked = Promise.withResolvers<void>();
    const { address } = await serve(
      () => {
        setImmediate(asked.resolve);
        return new Promise(() => undefined);
      },
      { clock },
    );
    const answer = ask(address, "GET /");
    await asked.promise;
    clock.advance(10_000);
    assert.equal((await answer).status, 503);
    assert.equal(clock.pending, 0);
  });
});

describe("a request", () => {
  it("with a body is refused and its connection closed", async () => {
    const { address } = await serve(echo);
    for (const header of [
      "Content-Length: 5\r\n\r\nhello",
      "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ]) {
      const { status, head } = await exchange(address, `POST / HTTP/1.1\r\nHost: localhost\r\n${header}`);
      assert.equal(status, 413);
      assert.match(head, /connection: close/i);
    }
    assert.equal((await ask(address, "POST /", "Host: localhost\r\nContent-Length: 0\r\n")).status, 200);
  });

  it("that is no HTTP, or has too large a head, is answered and cut", async () => {
    const { address } = await serve(echo);
    assert.equal((await exchange(address, "\u0016\u0003\u0001hello\r\n\r\n")).status, 400);
    assert.equal((await ask(address, "GET /", `Host: localhost\r\nX: ${"a".repeat(9000)}\r\n`)).status, 431);
    assert.equal((await ask(address, "GET /", "")).status, 400, "without Host");
  });

  it("that does not come to its end is cut after its deadline", { timeout: 15_000 }, async () => {
    const { address } = await serve(echo);
    const { status } = await exchange(address, "GET / HTTP/1.1\r\nHost: localhost\r\n");
    assert.equal(status, 408);
  });

  it("beyond 64 connections at once is not taken", async () => {
    const { address } = await serve(echo);
    assert("port" in address);
    const sockets = await Promise.all(
      Array.from({ length: 64 }, async () => {
        const socket = connect(address.port, "127.0.0.1");
        await once(socket, "connect");
        return socket;
      }),
    );
    const one = connect(address.port, "127.0.0.1");
    one.on("error", () => undefined);
    await once(one, "close");
    for (const socket of sockets) socket.destroy();
  });
});

describe("the address", () => {
  it("that is taken is named with the reason", async () => {
    const { address, endpoint } = await serve(echo);
    const failure = await listenHttp({ listen: address, handle: echo, clock: systemClock, onError: () => undefined });
    assert(isFailure(failure));
    assert.equal(failure.code, "PORT_UNAVAILABLE");
    assert.match(failure.detail, new RegExp(`${endpoint.text}: EADDRINUSE$`));
  });

  it("of all interfaces takes IPv4", async () => {
    const { address } = await serve(echo, { listen: { host: "", port: 0 } });
    assert("port" in address);
    assert.equal((await ask({ host: "127.0.0.1", port: address.port }, "GET /")).status, 200);
  });

  it("as a UNIX socket is its owner's alone, replaces what a dead process left, and goes with its own", async () => {
    const folder = mkdtempSync(join(tmpdir(), "culvert-http-"));
    const path = join(folder, "admin.sock");
    try {
      const { endpoint: first } = await serve(echo, { listen: { path } });
      assert.equal(statSync(path).mode & 0o777, 0o600);
      const { endpoint: second } = await serve(() => plainReply(200, "second"), { listen: { path } });
      assert.equal((await ask({ path }, "GET /")).body, "second\n");
      await first.close();
      assert(existsSync(path), "the socket of the one that took over stays");
      await second.close();
      assert(!existsSync(path));

      writeFileSync(path, "precious");
      const failure = await listenHttp({
        listen: { path },
        handle: echo,
        clock: systemClock,
        onError: () => undefined,
      });
      assert(isFailure(failure));
      assert.match(failure.detail, /no socket/);
      assert.equal(statSync(path).size, 8);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
