// Bulk sockets between real sockets: who gets the bytes, in which order, and what is left when the private piece is missing.
import { deepEqual, equal, ok } from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import { dial } from "@culvert/test/support/tcp.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { acceptBulk } from "./accept-bulk.ts";
import { BulkSocket } from "./bulk-socket.ts";
import { connectBulk } from "./connect-bulk.ts";
import type { BulkServer } from "./accept-bulk.ts";
import { systemClock as clock } from "./clock.ts";
import { FakeClock } from "./fake-clock.ts";
import { heldSlabs, releaseSlab } from "./slabs.ts";

const HOST = "127.0.0.1";

async function accepting(onSocket: (socket: BulkSocket) => void): Promise<BulkServer> {
  const server = await acceptBulk({ host: HOST, port: 0, onSocket });
  if (isFailure(server)) throw new Error(server.detail);
  return server;
}

/** A listener whose sockets read by 'data' events, as where `onread` cannot be had. */
async function acceptingPlain(onSocket: (socket: BulkSocket) => void): Promise<BulkServer> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    onSocket(new BulkSocket(() => socket, true));
  });
  await new Promise<void>((resolve) => void server.listen(0, HOST, resolve));
  const address = { host: HOST, port: (server.address() as AddressInfo).port };
  return {
    address,
    pooled: false,
    descriptor: -1,
    close: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}

async function connected(port: number): Promise<BulkSocket> {
  const socket = await connectBulk({ host: HOST, port, timeoutMs: 5_000, clock });
  if (isFailure(socket)) throw new Error(socket.detail);
  return socket;
}

test("this runtime has the piece that accepted sockets need for pooled reads", async () => {
  const server = await accepting(() => {});
  equal(server.pooled, true);
  await server.close();
});

test("accepted and dialled sockets have TCP_NODELAY", async () => {
  const ffi = process.getBuiltinModule("node:ffi");
  const getsockopt = new ffi.DynamicLibrary(null).getFunction("getsockopt", {
    arguments: ["i32", "i32", "i32", "pointer", "pointer"],
    return: "i32",
  });
  const noDelay = ({ descriptor }: BulkSocket): number => {
    const value = Buffer.alloc(4);
    const size = Buffer.from([4, 0, 0, 0]);
    equal(getsockopt(descriptor, 6, 1, value, size), 0);
    return value.readInt32LE();
  };
  const sockets: BulkSocket[] = [];
  const server = await accepting((socket) => void sockets.push(socket));
  const near = await connected(server.address.port);
  const far = await until("the socket", () => sockets[0]);
  equal(noDelay(near), 1);
  equal(noDelay(far), 1);
  near.reset();
  await server.close();
});

for (const [how, listen] of [
  ["pooled", accepting],
  ["plain", acceptingPlain],
] as const) {
  test(`${how}: a handshake reads first, what is not its own goes to the sink, and nothing is read between`, async () => {
    const seen: string[] = [];
    const server = await listen((socket) => void serve(socket));
    const serve = async (socket: BulkSocket): Promise<void> => {
      let head = "";
      while (!head.includes("\n")) {
        const chunk = await socket.read();
        if (chunk === undefined || isFailure(chunk)) return void seen.push(`early ${String(chunk)}`);
        head += chunk.toString();
      }
      const end = head.indexOf("\n") + 1;
      socket.unread(Buffer.from(head.slice(end)));
      seen.push(`head ${head.slice(0, end - 1)}`);
      await new Promise((resolve) => setImmediate(resolve));
      socket.setSink({
        onBytes: (chunk) => (seen.push(`bytes ${chunk.toString()}`), true),
        onEnd: () => (seen.push("end"), socket.end()),
        onClose: (failure) => void seen.push(`close ${failure?.code}`),
      });
      socket.resume();
    };
    const client = await dial(HOST, server.address.port);
    client.send("hel");
    client.finish("lo\nworld");
    await client.ended();
    await until("the close", () => seen.at(-1)?.startsWith("close"));
    equal(seen.join("|").replaceAll("|bytes ", ""), "head helloworld|end|close undefined");
    await server.close();
  });

  test(`${how}: bulk arrives whole while the sink pauses now and then`, async () => {
    const digest = Promise.withResolvers<string>();
    const server = await listen((socket) => {
      const hash = createHash("sha256");
      let turns = 0;
      socket.setSink({
        onBytes: (chunk, slab) => {
          hash.update(chunk);
          if (slab !== undefined) releaseSlab(slab);
          if (++turns % 7 !== 0) return true;
          setImmediate(() => socket.resume());
          return false;
        },
        onEnd: () => (digest.resolve(hash.digest("hex")), socket.end()),
        onClose: () => {},
      });
      socket.resume();
    });
    const data = randomBytes(20_000_000);
    const client = connect({ host: HOST, port: server.address.port }).end(data).resume();
    equal(await digest.promise, createHash("sha256").update(data).digest("hex"));
    await once(client, "close");
    ok(heldSlabs().free <= 16);
    equal(heldSlabs().readers, 0);
    await server.close();
  });

  test(`${how}: a reset is told with its code, an end that came before the sink is not lost`, async () => {
    const sockets: BulkSocket[] = [];
    const server = await listen((socket) => void sockets.push(socket));
    const failures: (Failure | undefined)[] = [];
    const client = await dial(HOST, server.address.port);
    const socket = await until("the socket", () => sockets[0]);
    const onClose = (failure: Failure | undefined): void => void failures.push(failure);
    socket.setSink({ onBytes: () => true, onEnd: () => {}, onClose });
    socket.resume();
    client.reset();
    await until("the close", () => failures.length > 0);
    equal(failures[0]?.code, "APP_RESET");
    equal(failures[0]?.detail, "ECONNRESET");
    const late: string[] = [];
    socket.setSink({
      onBytes: () => true,
      onEnd: () => {},
      onClose: (failure) => void late.push(String(failure?.code)),
    });
    socket.resume();
    deepEqual(late, ["APP_RESET"]);
    ok(isFailure(await socket.read()));
    await server.close();
  });

  test(`${how}: reset() reaches the other side as a reset, also while our FIN is on its way`, async () => {
    for (const end of [false, true]) {
      const server = await listen((socket) => void serve(socket));
      const serve = async (socket: BulkSocket): Promise<void> => {
        await socket.read();
        if (end) socket.end();
        socket.reset();
      };
      const client = await dial(HOST, server.address.port);
      client.socket.on("error", () => {});
      client.send("x");
      const ended = await client.ended();
      ok(ended === "ECONNRESET" || (end && ended === "end"), ended);
      // Nothing is left half open: what we send next finds no socket.
      await until("the connection to be gone", () => {
        client.send("x");
        return client.socket.destroyed;
      });
      await server.close();
    }
  });
}

test("addresses are those of both ends, and stay known after the close", async () => {
  const sockets: BulkSocket[] = [];
  const server = await accepting((socket) => void sockets.push(socket));
  const near = await connected(server.address.port);
  const far = await until("the socket", () => sockets[0]);
  deepEqual(far.remote, near.local);
  deepEqual(near.remote, { ip: HOST, port: server.address.port });
  ok(far.descriptor > 0);
  near.reset();
  far.reset();
  await until("the close", () => near.destroyed && far.destroyed);
  deepEqual(far.remote, near.local);
  await server.close();
});

test("a server that speaks first is not heard before there is a sink", async () => {
  const server = createServer((socket: Socket) => void socket.end("220 ready\r\n"));
  await new Promise<void>((resolve) => void server.listen(0, HOST, resolve));
  const socket = await connected((server.address() as AddressInfo).port);
  for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
  equal(String(await socket.read()), "220 ready\r\n");
  equal(await socket.read(), undefined);
  socket.end();
  await new Promise((resolve) => server.close(resolve));
});

test("a dial that fails says how", async () => {
  const server = await accepting(() => {});
  const { port } = server.address;
  await server.close();
  const refused = await connectBulk({ host: HOST, port, timeoutMs: 5_000, clock });
  ok(isFailure(refused));
  equal(refused.code, "APP_REFUSED");
  equal(refused.detail, `${HOST}:${port}: ECONNREFUSED`);
  const fake = new FakeClock();
  // TEST-NET-1 (RFC 5737) never answers; where it has no route the failure comes at once.
  const dialling = connectBulk({ host: "192.0.2.1", port: 9, timeoutMs: 3_000, clock: fake });
  fake.advance(3_000);
  const late = await dialling;
  ok(isFailure(late) && ["APP_TIMEOUT", "APP_UNREACHABLE"].includes(late.code));
});

test("an address that cannot be bound is a failure with its name", async () => {
  const server = await accepting(() => {});
  const second = await acceptBulk({ host: HOST, port: server.address.port, onSocket: () => {} });
  ok(isFailure(second) && second.detail === `cannot listen on ${HOST}:${server.address.port}: EADDRINUSE`);
  equal(second.code, "PORT_UNAVAILABLE");
  await server.close();
});
