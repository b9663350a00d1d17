// A connection of the mesh as an application has it: over both ends of a real tunnel, with time that the test moves.
import { deepEqual, equal, ok } from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { endpoint } from "@culvert/shared/net/endpoint.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import { tunnelPair, type TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { MeshSocket } from "./mesh-socket.ts";

let pair: TunnelPair;
before(async () => {
  pair = await tunnelPair();
});
after(() => pair.close());

const clock = new FakeClock();

function socketOf(direction: "outbound" | "inbound"): MeshSocket {
  const place = endpoint("10.0.0.1", 80);
  return new MeshSocket({ clock, direction, local: place, remote: place, identityVersion: 1 });
}

async function both(): Promise<{ near: MeshSocket; far: MeshSocket }> {
  const { opened, accepted } = await pair.tunnel();
  const near = socketOf("outbound").overTunnel(opened.stream, opened.peer.id);
  return { near, far: socketOf("inbound").overTunnel(accepted.stream, accepted.peer.id) };
}

async function all(socket: MeshSocket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test("what is written before it is open follows, in order, and both ends tell of a whole connection", async () => {
  const { opened, accepted } = await pair.tunnel();
  const near = socketOf("outbound");
  near.write("one ");
  near.end("two");
  equal(near.readyState, "opening");
  near.granted();
  near.overTunnel(opened.stream, opened.peer.id);
  await once(near, "connect");
  const far = socketOf("inbound").overTunnel(accepted.stream, accepted.peer.id);
  equal(String(await all(far)), "one two");
  far.end("three");
  equal(String(await all(near)), "three");
  deepEqual(await near.ended, { fromSocket: 7, toSocket: 5, failure: undefined });
  deepEqual(await far.ended, { fromSocket: 5, toSocket: 7, failure: undefined });
});

test("a failure before it is open is its error and its end", async () => {
  const socket = socketOf("outbound");
  socket.write("lost");
  socket.refused(fail("PEER_DENIED", "10.0.0.1:15008: 401"));
  const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
  equal(error.code, "PEER_DENIED");
  equal((await socket.ended).failure?.code, "PEER_DENIED");
});

test("a tunnel that is gone by the time that it comes is an error too", async () => {
  const { opened } = await pair.tunnel();
  opened.stream.destroy();
  await once(opened.stream, "close");
  const socket = socketOf("outbound").overTunnel(opened.stream, opened.peer.id);
  ok(socket.destroyed);
  equal((await socket.ended).failure?.code, "PEER_LOST");
});

test("closing it is an end where nothing is owed, and a reset where something is", async () => {
  const orderly = await both();
  orderly.near.destroy();
  equal((await all(orderly.far)).length, 0);
  orderly.far.end();
  equal((await orderly.near.ended).failure, undefined);
  equal((await orderly.far.ended).failure, undefined);

  const late = await both();
  late.near.destroy();
  late.far.resume();
  await once(late.far, "end");
  late.far.write("to nobody");
  const [error] = (await once(late.far, "error")) as [NodeJS.ErrnoException];
  equal(error.code, "DOWNSTREAM_CLOSED");

  const owed = await both();
  owed.far.write("unread");
  await once(owed.near, "readable");
  owed.near.destroy();
  equal((await owed.near.ended).failure?.code, "DOWNSTREAM_CLOSED");
  equal((await owed.far.ended).failure?.code, "DOWNSTREAM_CLOSED");
});

test("a reset of the peer is an error, never an end", async () => {
  for (const code of [0, 8, 10]) {
    const { opened, accepted } = await pair.tunnel();
    const socket = socketOf("outbound").overTunnel(opened.stream, opened.peer.id);
    socket.resume().on("end", () => ok(false, "an end"));
    accepted.stream.write("half", () => resetStream(accepted.stream, code));
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    equal(error.code, "PEER_RESET");
  }
});

test("time-outs count from the last byte", async () => {
  const { near, far } = await both();
  let told = 0;
  near.setTimeout(1_000).on("timeout", () => (told += 1));
  clock.advance(900);
  far.write("x");
  await once(near, "data");
  clock.advance(900);
  equal(told, 0);
  clock.advance(100);
  equal(told, 1);
  near.setTimeout(1_000);
  near.setTimeout(0);
  clock.advance(5_000);
  equal(told, 1);
  near.destroy();
  far.destroy();
});
