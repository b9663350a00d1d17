// gRPC-Web through the mesh: a client as in a browser, grpc-go's interoperability server, and the waypoint between them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bytesOf, decodeMessage, encodeMessage } from "@culvert/shared/grpc/message.ts";
import { GRPC_INTEROP } from "../support/grpc-interop.ts";
import { GRPC_PORTS, startGrpcMesh, type GrpcMesh } from "../support/grpc-mesh.ts";
import { startTurnsApp, type TurnsApp } from "../support/grpc-turns.ts";
import { webCall, type WebAnswer, type WebCallOptions } from "../support/grpc-web.ts";
import { needs } from "../support/needs.ts";

const SERVICE = "/grpc.testing.TestService";

/** `SimpleRequest` for a payload of so many bytes, and with the status that is to be answered. */
function simple(size: number, status?: readonly [code: number, message: string]): Buffer {
  const echo =
    status === undefined
      ? []
      : [
          [
            7,
            encodeMessage([
              [1, status[0]],
              [2, status[1]],
            ]),
          ] as const,
        ];
  return encodeMessage([[2, size], ...echo]);
}

/** `StreamingOutputCallRequest` for payloads of so many bytes, so many microseconds apart. */
function streaming(sizes: readonly number[], intervalUs: number): Buffer {
  return encodeMessage(
    sizes.map((size) => [
      2,
      encodeMessage([
        [1, size],
        [2, intervalUs],
      ]),
    ]),
  );
}

/** Bytes of the payload of a response. */
function payload(message: Buffer | undefined): number {
  const [inner] = bytesOf(decodeMessage(message ?? Buffer.alloc(0)) ?? [], 1);
  return bytesOf(decodeMessage(inner ?? Buffer.alloc(0)) ?? [], 2)[0]?.length ?? 0;
}

describe("gRPC-Web", needs({ commands: GRPC_INTEROP }), () => {
  let running: GrpcMesh;
  let turns: TurnsApp;

  before(async () => {
    turns = await startTurnsApp();
    running = await startGrpcMesh({ turns });
  });

  after(() => running.mesh.stop());

  function call(method: string, message: Buffer, more: Partial<WebCallOptions> = {}): Promise<WebAnswer> {
    return webCall({
      host: running.client.inside,
      port: GRPC_PORTS.web,
      path: method.startsWith("/") ? method : `${SERVICE}/${method}`,
      message,
      ...more,
    });
  }

  for (const isText of [false, true]) {
    describe(isText ? "as text" : "binary", () => {
      const type = `application/grpc-web${isText ? "-text" : ""}`;

      test("a call, its answer, and the status behind it", async () => {
        const answer = await call("EmptyCall", Buffer.alloc(0), { isText });
        assert.deepEqual([answer.httpStatus, answer.status, answer.messages.length], [200, 0, 1]);
        assert.equal(answer.trailers["grpc-status"], "0");
        assert.equal(answer.headers["content-type"], `${type}+proto`);
      });

      test("large messages", async () => {
        const answer = await call("UnaryCall", simple(1_000_000), { isText });
        assert.equal(answer.status, 0);
        assert.equal(payload(answer.messages[0]), 1_000_000);
      });

      test("a stream of messages", async () => {
        const answer = await call("StreamingOutputCall", streaming([31_415, 9, 2_653, 58_979], 0), { isText });
        assert.deepEqual(answer.messages.map(payload), [31_415, 9, 2_653, 58_979]);
        assert.equal(answer.status, 0);
      });

      test("each message of a stream as it comes", async () => {
        const seen: string[] = [];
        const { messages, status } = await call("/turns.Turns/Take", Buffer.from("first"), {
          isText,
          port: GRPC_PORTS.turns,
          // The application says the next thing when the last one has been heard.
          onMessage: (message) => {
            seen.push(message.toString());
            turns.next(seen.length < 5 ? `message ${seen.length}` : undefined);
          },
        });
        assert.deepEqual(seen, ["first", "message 1", "message 2", "message 3", "message 4"]);
        assert.deepEqual([messages.length, status], [5, 0]);
      });

      test("a status and a message of the application's", async () => {
        const { status, trailers, headers } = await call("UnaryCall", simple(1, [9, "not now: 50%"]), { isText });
        assert.equal(status, 9);
        assert.equal(trailers["grpc-message"] ?? headers["grpc-message"], "not now: 50%25");
      });

      test("a method that the application has not", async () => {
        assert.equal((await call("NoSuchCall", Buffer.alloc(0), { isText })).status, 12);
      });

      test("a deadline", async () => {
        const message = streaming([1, 1], 5_000_000);
        const { status, headers } = await call("StreamingOutputCall", message, {
          isText,
          headers: { "grpc-timeout": "200m" },
        });
        assert.equal(status, 4);
        assert.equal(headers["content-type"], `${type}+proto`);
      });
    });
  }

  test("metadata both ways", async () => {
    const { headers, trailers } = await call("UnaryCall", simple(1), {
      headers: { "x-grpc-test-echo-initial": "a", "x-grpc-test-echo-trailing-bin": "q80=" },
    });
    assert.equal(headers["x-grpc-test-echo-initial"], "a");
    assert.equal(trailers["x-grpc-test-echo-trailing-bin"], "q80");
  });

  test("the log and metrics know of calls", async () => {
    await call("EmptyCall", Buffer.alloc(0));
    await running.waypoint.access({ path: `${SERVICE}/EmptyCall`, protocol: "HTTP/1.1", grpc_status: 0 });
  });
});
