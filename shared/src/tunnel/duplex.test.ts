// A tunnel stream behind a plain Duplex: bytes, half-closes, resets, and the two users that must never see the stream itself.
import { equal, ok } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before as setUp, test } from "node:test";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { tunnelCast, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import type { TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { tunnelDuplex } from "./duplex.ts";
import { resetStream } from "./reset-stream.ts";

let pair: TunnelPair;
setUp(async () => {
  pair = await tunnelPair();
});
after(() => pair.close());

/** All that comes until the end; unlike the runtime's consumers it leaves the other direction alone. */
function collect(readable: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  readable.on("data", (chunk: Buffer) => void chunks.push(chunk));
  return new Promise((resolve, reject) => {
    readable.on("end", () => resolve(Buffer.concat(chunks))).on("error", reject);
  });
}

async function ends(): Promise<{ near: ReturnType<typeof tunnelDuplex>; far: ReturnType<typeof tunnelDuplex> }> {
  const { opened, accepted } = await pair.tunnel();
  return { near: tunnelDuplex(opened.stream), far: tunnelDuplex(accepted.stream) };
}

test("carries bytes and half-closes both ways", async () => {
  const { near, far } = await ends();
  const data = randomBytes(5_000_000);
  near.end(data);
  ok((await collect(far)).equals(data));
  far.end("late answer");
  equal(String(await collect(near)), "late answer");
  if (!near.destroyed) await once(near, "close");
  equal(near.errored, null);
});

test("a reset or a lost session is an error of the duplex, never an end", async () => {
  for (const code of [0, 8, 10]) {
    const { opened, accepted } = await pair.tunnel();
    const near = tunnelDuplex(opened.stream);
    near.resume().on("end", () => ok(false, "an end"));
    accepted.stream.write("half", () => resetStream(accepted.stream, code));
    const [error] = (await once(near, "error")) as [NodeJS.ErrnoException];
    equal(error.code, "ECONNRESET");
  }
});

test("destroying it resets the stream", async () => {
  for (const [error, code] of [
    [undefined, 8],
    [new Error("broken"), 10],
  ] as const) {
    const { near, far } = await ends();
    near.on("error", () => {});
    far.resume();
    near.destroy(error);
    const [seen] = (await once(far, "error")) as [NodeJS.ErrnoException];
    equal(seen.code, "ECONNRESET", `code ${code}`);
  }
});

test("a reader that does not read is waited for", async () => {
  const { near, far } = await ends();
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < 200; i++) {
      written += 1;
      if (!near.write(Buffer.alloc(65_536, i))) await once(near, "drain");
    }
    near.end();
  })();
  while (!near.writableNeedDrain) await new Promise(setImmediate);
  for (let turns = 0; turns < 100; turns++) await new Promise(setImmediate);
  ok(written < 60, `${written} chunks of 64 KiB were taken while nobody read`);
  equal((await collect(far)).length, 200 * 65_536);
  await writing;
  for (const end of [near, far]) end.on("error", () => {}).destroy();
});

test("node:http over it: not one of a thousand messages is corrupted", async () => {
  const server = createServer((request, response) => {
    response.end(`${request.method} ${request.url} ${String(request.headers["x-marker"])}`);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  for (let index = 0; index < 1_000; index++) {
    const { near, far } = await ends();
    server.emit("connection", far);
    const path = `/${"p".repeat(index % 64)}`;
    const request = get({ createConnection: () => near, path, headers: { "x-marker": `m${index}` }, host: "a" });
    const [response] = (await once(request, "response")) as [NodeJS.ReadableStream];
    equal(String(await collect(response)), `GET ${path} m${index}`);
    near.destroy();
  }
  ok((server.address() as AddressInfo).port > 0);
  await new Promise((resolve) => server.close(resolve));
});

test("TLS inside it", async () => {
  const { server: identity } = await tunnelCast();
  const inner = createTlsServer({ cert: identity.svid.chainPem, key: identity.svid.keyPem });
  inner.on("secureConnection", (socket) => void socket.end("secret"));
  const { near, far } = await ends();
  inner.emit("connection", far);
  const client = connectTls({ socket: near, rejectUnauthorized: false });
  equal(String(await collect(client)), "secret");
  for (const end of [near, far]) end.on("error", () => {}).destroy();
});
