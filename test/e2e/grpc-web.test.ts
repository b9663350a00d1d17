// gRPC-Web through the mesh: a client as in a browser, grpc-go's interoperability server, and the waypoint between them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { DescMethodStreaming, DescMethodUnary } from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { bytesOf, decodeMessage, encodeMessage } from "@culvert/shared/grpc/message.ts";
import { GRPC_INTEROP } from "../support/grpc-interop.ts";
import { GRPC_PORTS, startGrpcMesh, type GrpcMesh } from "../support/grpc-mesh.ts";
import { startTurnsApp, type TurnsApp } from "../support/grpc-turns.ts";
import { webCall, type WebAnswer, type WebCallOptions } from "../support/grpc-web.ts";
import { ask } from "../support/http.ts";
import { needs } from "../support/needs.ts";
import { httpRoute } from "../support/resources.ts";
import { putResources } from "../support/shop.ts";
import { testMethod } from "../support/test-service.ts";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";

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

async function* once<T>(value: T): AsyncGenerator<T> {
  yield value;
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

  const transport = (port: number): Transport =>
    createGrpcWebTransport({
      baseUrl: `http://${hostPort(running.client.inside, port)}`,
      useBinaryFormat: true,
    });
  const unary = (port: number, input: Readonly<Record<string, unknown>>): Promise<unknown> =>
    transport(port)
      .unary(testMethod("unaryCall") as DescMethodUnary, undefined, undefined, undefined, input)
      .then(({ message }) => message);

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

  describe("with connect-web", () => {
    test("a call", async () => {
      const message = (await unary(GRPC_PORTS.web, { responseSize: 314_159 })) as { payload: { body: Uint8Array } };
      assert.equal(message.payload.body.length, 314_159);
    });

    test("a stream", async () => {
      const method = testMethod("streamingOutputCall") as DescMethodStreaming;
      const input = { responseParameters: [31_415, 9, 2_653].map((size) => ({ size })) };
      const response = await transport(GRPC_PORTS.web).stream(method, undefined, undefined, undefined, once(input));
      const sizes: number[] = [];
      for await (const message of response.message) {
        sizes.push((message as unknown as { payload: { body: Uint8Array } }).payload.body.length);
      }
      assert.deepEqual(sizes, [31_415, 9, 2_653]);
      assert.equal(response.trailer.get("grpc-status"), "0");
    });

    test("the application's errors, and the waypoint's", async () => {
      await assert.rejects(
        unary(GRPC_PORTS.web, { responseStatus: { code: 9, message: "not now: 50% ☺" } }),
        (error) => {
          assert.ok(error instanceof ConnectError);
          assert.deepEqual([error.code, error.rawMessage], [Code.FailedPrecondition, "not now: 50% ☺"]);
          return true;
        },
      );
      await assert.rejects(unary(GRPC_PORTS.empty, {}), (error) => {
        assert.ok(error instanceof ConnectError);
        assert.equal(error.code, Code.Unavailable);
        assert.match(error.rawMessage, /^NO_HEALTHY_UPSTREAM: /);
        return true;
      });
    });
  });

  test("a page of another origin, where a route lets it", async () => {
    const origin = "https://shop.example";
    const cors = {
      allowOrigins: [origin],
      allowMethods: ["POST"],
      allowHeaders: ["x-grpc-web"],
      exposeHeaders: ["grpc-status"],
    };
    const backendRefs = [{ name: "app", port: GRPC_PORTS.web }];
    await putResources(
      running.mesh,
      "cors",
      [httpRoute("web", "app", [{ filters: [{ type: "CORS", cors }], backendRefs }])],
      [running.waypoint],
    );
    const preflight = await ask(`http://${hostPort(running.client.inside, GRPC_PORTS.web)}${SERVICE}/EmptyCall`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "x-grpc-web" },
    });
    assert.equal(preflight.headers["access-control-allow-origin"], origin);
    for (const [method, status] of [
      ["EmptyCall", 0],
      ["NoSuchCall", 12],
    ] as const) {
      const answer = await call(method, Buffer.alloc(0), { headers: { origin } });
      assert.equal(answer.status, status);
      assert.equal(answer.headers["access-control-allow-origin"], origin);
      assert.equal(answer.headers["access-control-expose-headers"], "grpc-status");
    }
    running.mesh.remove("cors");
  });

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
