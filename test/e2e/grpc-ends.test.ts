// How gRPC calls end through the mesh when nobody says the end: deadlines, broken streams, calls that are taken back.
import assert from "node:assert/strict";
import { connect, type ClientHttp2Session } from "node:http2";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { answerOf, beginCall, callOnce, framed } from "../support/grpc.ts";
import { GRPC_INTEROP } from "../support/grpc-interop.ts";
import { GRPC_PORTS, startGrpcMesh, type GrpcMesh } from "../support/grpc-mesh.ts";
import { startTurnsApp, type TurnsApp } from "../support/grpc-turns.ts";
import { needs } from "../support/needs.ts";
import { until, within } from "../support/until.ts";

const NO_ERROR = 0;
const CANCEL = 8;

describe("the end of a gRPC call", needs({ commands: GRPC_INTEROP }), () => {
  let running: GrpcMesh;
  let turns: TurnsApp;
  let session: ClientHttp2Session;

  before(async () => {
    turns = await startTurnsApp();
    running = await startGrpcMesh({ turns });
    session = connect(`http://${hostPort(running.client.inside, GRPC_PORTS.turns)}`);
    session.on("error", () => undefined);
  });

  after(async () => {
    session.destroy();
    await running.mesh.stop();
  });

  test("the deadline passes before there is an answer: the status says so, and the application is told", async () => {
    const { status, headers } = await callOnce(session, "/turns.Turns/Silent", Buffer.alloc(0), {
      "grpc-timeout": "1500m",
    });
    assert.equal(status, 4);
    assert.equal(headers["culvert-code"], "UPSTREAM_TIMEOUT");
    const [, left = ""] = /^(\d+)u$/.exec(String(turns.calls.at(-1)?.["grpc-timeout"])) ?? [];
    assert.ok(Number(left) > 0 && Number(left) <= 1_500_000, `the application was told ${left} microseconds`);
    await until("the application's stream ended", () => turns.takenBack.includes(CANCEL));
    await running.waypoint.access({ path: "/turns.Turns/Silent", grpc_status: 4, code: "UPSTREAM_TIMEOUT" });
  });

  test("the deadline passes within a stream: the stream is reset, and has no status", async () => {
    const stream = beginCall(session, "/turns.Turns/Late", { "grpc-timeout": "1S" });
    stream.end(framed(Buffer.from("first")));
    const { messages, status } = await within("the end", answerOf(stream));
    assert.deepEqual([messages.map(String), status, stream.rstCode], [["first"], -1, CANCEL]);
  });

  test("an application that breaks off: the stream is reset, and no status is made up", async () => {
    const stream = beginCall(session, "/turns.Turns/Broken");
    stream.end(framed(Buffer.from("first")));
    const { messages, status } = await within(
      "the end",
      answerOf(stream, () => turns.breakOff()),
    );
    assert.deepEqual([messages.map(String), status], [["first"], -1]);
    assert.notEqual(stream.rstCode, NO_ERROR);
    const line = await running.waypoint.access({ path: "/turns.Turns/Broken" });
    assert.equal(line["grpc_status"], undefined);
  });

  test("a call that the client takes back is taken back from the application", async () => {
    const taken = turns.takenBack.length;
    const calls = turns.calls.length;
    const stream = beginCall(session, "/turns.Turns/Silent");
    stream.end(framed(Buffer.alloc(0)));
    await until("the application has the call", () => turns.calls.length > calls);
    stream.close(CANCEL);
    await until("the application's stream ended", () => turns.takenBack.length > taken);
    await running.waypoint.access({ path: "/turns.Turns/Silent", code: "DOWNSTREAM_CLOSED" });
  });

  test("a head that cannot be served is refused by status, too", async () => {
    const { status, headers } = await callOnce(session, "/turns.Turns/Silent", Buffer.alloc(0), { expect: "more" });
    assert.deepEqual([status, headers[":status"], headers["culvert-code"]], [12, 200, "EXPECTATION_REFUSED"]);
  });

  test("what a policy or a missing endpoint refuses is told by status", async () => {
    const empty = connect(`http://${hostPort(running.client.inside, GRPC_PORTS.empty)}`);
    empty.on("error", () => undefined);
    const { status, headers } = await callOnce(empty, "/a.B/C", Buffer.alloc(0));
    empty.destroy();
    assert.deepEqual([status, headers[":status"], headers["content-type"]], [14, 200, "application/grpc"]);
  });
});
