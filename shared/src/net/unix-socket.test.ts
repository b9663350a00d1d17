import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { run } from "@culvert/test/support/process.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import { acceptBulk, type BulkServer } from "./accept-bulk.ts";
import type { BulkSocket } from "./bulk-socket.ts";
import { unixBinding } from "./unix-socket.ts";

function place(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "culvert-unix-"));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "app.sock");
}

function listen(path: string, onSocket: (socket: BulkSocket) => void = () => {}): ReturnType<typeof acceptBulk> {
  return acceptBulk({ unix: unixBinding(path, 0o660), onSocket });
}

async function listening(
  context: TestContext,
  path: string,
  onSocket?: (socket: BulkSocket) => void,
): Promise<BulkServer> {
  const server = await listen(path, onSocket);
  assert.ok(!isFailure(server), "listens");
  context.after(() => server.close());
  return server;
}

/** What a process that died leaves behind: the file of a socket that nobody listens on. */
async function leaveStale(path: string): Promise<void> {
  const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
  await run(process.execPath, ["-e", script]);
  assert.ok(statSync(path).isSocket());
}

test("bytes go both ways through pooled reads, and the source is the socket's path", async (context) => {
  const path = place(context);
  const server = await listening(context, path, (socket) => {
    assert.equal(socket.source, `unix:${path}`);
    assert.deepEqual(socket.remote, { ip: "0.0.0.0", port: 0 });
    socket.setSink({
      onBytes: (chunk) => {
        socket.write(Buffer.from(chunk));
        return true;
      },
      onEnd: () => socket.end(),
      onClose: () => {},
    });
    socket.resume();
  });
  assert.ok(server.pooled);
  assert.deepEqual(server.address, { host: `unix:${path}`, port: 0 });
  const client = connect({ path });
  let received = 0;
  client.on("data", (chunk) => {
    received += chunk.length;
    if (received === 300_000) client.end();
  });
  client.write(Buffer.alloc(300_000));
  await until("the end of the client", () => client.destroyed);
  assert.equal(received, 300_000);
});

test("the mode is exact, the file is the only one, and it goes with the server", async (context) => {
  const path = place(context);
  const before = process.umask();
  const server = await listening(context, path);
  assert.equal(process.umask(), before);
  assert.equal(statSync(path).mode & 0o777, 0o660);
  assert.deepEqual(readdirSync(join(path, "..")), ["app.sock"]);
  await server.close();
  assert.ok(!existsSync(path));
});

test("the file of a dead process is replaced, one that answers is not", async (context) => {
  const path = place(context);
  await leaveStale(path);
  await listening(context, path);
  const second = await listen(path);
  assert.ok(isFailure(second));
  assert.equal(second.code, "PORT_UNAVAILABLE");
  assert.match(second.detail, /app\.sock: another process listens on it$/);
  assert.ok(statSync(path).isSocket(), "the first one's file is left alone");
});

test("a file that is no socket is left alone", async (context) => {
  const path = place(context);
  writeFileSync(path, "precious");
  const refused = await listen(path);
  assert.ok(isFailure(refused));
  assert.match(refused.detail, /no socket/);
  assert.equal(statSync(path).size, 8);
});

test("a file that another process has put there since is not removed", async (context) => {
  const path = place(context);
  const server = await listening(context, path);
  rmSync(path);
  const other = createServer().listen(path);
  context.after(() => void other.close());
  await until("the other's socket", () => existsSync(path));
  await server.close();
  assert.ok(existsSync(path));
});

test("a folder that is not there is a failure with the system's code", async (context) => {
  const refused = await listen(join(place(context), "none", "app.sock"));
  assert.ok(isFailure(refused));
  assert.match(refused.detail, /^cannot listen on unix:.*: (ENOENT|ENOTDIR|EACCES)$/);
});

test("a reset reaches a client whose bytes nobody read", async (context) => {
  const path = place(context);
  const sockets: BulkSocket[] = [];
  await listening(context, path, (socket) => sockets.push(socket));
  const client = connect({ path });
  let code: string | undefined;
  client.on("error", (error: NodeJS.ErrnoException) => (code = error.code));
  client.write("hello");
  const socket = await until("the socket", () => sockets[0]);
  await until("the bytes to be sent", () => client.bytesWritten === 5);
  socket.reset();
  await until("the end of the client", () => client.destroyed);
  assert.equal(code, "ECONNRESET");
});
