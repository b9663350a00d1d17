import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:https";
import type { Duplex } from "node:stream";
import { after, before, beforeEach, describe, test } from "node:test";
import { createServer as createTlsServer } from "node:tls";
import type { BackendTls } from "@culvert/shared/config/backend-tls.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { mint, type Minted } from "@culvert/test/support/ca.ts";
import {
  backendTls,
  route,
  routeBackend,
  routeParent,
  routeRule,
  streamRoute,
} from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { within } from "@culvert/test/support/until.ts";
import { websocketAccept } from "../http/websocket.ts";
import { service, servicePort, type MeshParts } from "../mesh-fixtures.ts";
import { Bench, readAll } from "../waypoint-fixtures.ts";
import { helloMessage, inRecords } from "./client-hello-fixtures.ts";

const HTTPS = servicePort({ name: "https", port: 443, targetPort: 8443, appProtocol: "tls" });
const TCP = servicePort({ name: "tcp", port: 7000, targetPort: 7000, appProtocol: "tcp" });
const ANY = servicePort({ name: "any", port: 7001, targetPort: 7001, appProtocol: "unspecified" });

describe("a BackendTLSPolicy", () => {
  const bench = new Bench();
  let ca: Minted;
  let workloads: MeshParts["workloads"];
  let sessions = 0;

  const mesh = (policies: readonly BackendTls[], more: Partial<MeshParts> = {}): MeshParts => ({
    services: [
      service("default/shop", { ports: [servicePort(), HTTPS, TCP, ANY] }),
      service("default/front", { ports: [servicePort()] }),
    ],
    routes: [
      route("r", {
        parents: [routeParent("front")],
        rules: [routeRule({ backends: [routeBackend("shop", 443)] })],
      }),
    ],
    backendTls: policies,
    ...(workloads === undefined ? {} : { workloads }),
    ...more,
  });
  const policyOf = (parts: Partial<BackendTls> = {}): BackendTls =>
    backendTls("p", "shop.example.com", { roots: [ca.chainPem], ...parts });

  before(async () => {
    ca = await mint(undefined, { subject: "CN=Backends", ca: {}, keyUsage: ["keyCertSign"], extendedKeyUsage: [] });
    const { chainPem: cert, keyPem: key } = await mint(ca, { dns: ["shop.example.com"] });
    const https = createServer({ cert, key }, (request, response) => response.end(`${request.url} over TLS`));
    https.on("secureConnection", () => void (sessions += 1));
    https.on("tlsClientError", () => {});
    const echo = createTlsServer({ cert, key }, (socket) => {
      socket.on("error", () => {});
      socket.on("data", (chunk) => void socket.end(`TLS ${chunk.toString()}`));
    });
    echo.on("tlsClientError", () => {});
    const serve = (connection: Duplex, authority: string): void => {
      connection.on("error", () => {});
      if (authority.endsWith(":7001")) connection.once("data", (chunk: Buffer) => connection.end(`raw ${chunk[0]}`));
      else (authority.endsWith(":7000") ? echo : https).emit("connection", connection);
    };
    workloads = [await bench.app("shop-1", serve)];
    await bench.use(mesh([]));
    await bench.start();
  });
  beforeEach(() => bench.use(mesh([])));
  after(() => bench.stop());

  test("lets requests go to a port that is declared HTTPS, inside TLS, by connections that are kept", async () => {
    assert.equal((await bench.ask("front:9080", "/none")).headers["culvert-code"], "BACKEND_INVALID");
    await bench.use(mesh([policyOf()]));
    const began = sessions;
    for (const path of ["/a", "/b"]) {
      const { status, body } = await bench.ask("front:9080", path);
      assert.deepEqual([status, body], [200, `${path} over TLS`]);
    }
    await bench.use(mesh([policyOf()]));
    assert.equal((await bench.ask("front:9080", "/c")).status, 200);
    assert.equal(sessions - began, 1);
  });

  test("that changes holds for the next request, whatever connections are there", async () => {
    await bench.use(mesh([policyOf()]));
    assert.equal((await bench.ask("front:9080", "/")).status, 200);
    await bench.use(mesh([policyOf({ hostname: "other.example.com" })]));
    assert.equal((await bench.ask("front:9080", "/")).headers["culvert-code"], "BACKEND_UNTRUSTED");
    await bench.use(mesh([policyOf({ roots: ["nonsense"] })]));
    const { status, headers } = await bench.ask("front:9080", "/");
    assert.ok(status >= 500, `${status} ${String(headers["culvert-code"])}`);
    await bench.use(mesh([policyOf()]));
    assert.equal((await bench.ask("front:9080", "/")).status, 200);
  });

  test("that cannot be used lets nothing through, whatever is spoken", async () => {
    await bench.use(mesh([policyOf({ notUnderstood: "there is no ConfigMap" })]));
    for (const authority of ["front:9080", "shop:9080"]) {
      const { status, headers } = await bench.ask(authority, "/");
      assert.deepEqual([status, headers["culvert-code"]], [500, "BACKEND_TLS_INVALID"]);
    }
    for (const authority of ["shop:443", "shop:7000"]) {
      const result = await bench.open(authority);
      assert.ok(isFailure(result));
      assert.match(result.detail, /500 BACKEND_TLS_INVALID/);
    }
  });

  test("that leads to HTTP/2 is asked for HTTP/1.1 where a client wants to switch to WebSocket", async () => {
    const agreed: unknown[] = [];
    const http = createHttpServer();
    http.on("upgrade", (request, socket: Duplex) => {
      const accept = websocketAccept(String(request.headers["sec-websocket-key"]));
      const lines = ["HTTP/1.1 101 Switching Protocols", "connection: upgrade", "upgrade: websocket"];
      socket.end(`${[...lines, `sec-websocket-accept: ${accept}`].join("\r\n")}\r\n\r\nswitched`);
    });
    const { chainPem: cert, keyPem: key } = await mint(ca, { dns: ["shop.example.com"] });
    const tls = createTlsServer({ cert, key, ALPNProtocols: ["h2", "http/1.1"] }, (socket) => {
      socket.on("error", () => {});
      agreed.push(socket.alpnProtocol);
      http.emit("connection", socket);
    });
    const newer = await bench.app("shop-2", (connection) => void tls.emit("connection", connection));
    await bench.use(mesh([policyOf()], { workloads: [newer] }));
    const client = must(await bench.open("front:9080"));
    client.write(
      "GET /chat HTTP/1.1\r\nhost: front\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    const heard = await within("the other protocol", readAll(client));
    assert.match(heard, /^HTTP\/1\.1 101 [^]*\r\n\r\nswitched$/);
    assert.deepEqual(agreed, ["http/1.1"]);
  });

  test("is for TCP too, but not for a client that speaks TLS itself", async () => {
    await bench.use(mesh([policyOf()]));
    const plain = must(await bench.open("shop:7000"));
    plain.write("hello");
    assert.equal(await within("the answer", readAll(plain)), "TLS hello");
    const streamRoutes = [
      streamRoute("s", [routeBackend("shop", 7001)], {
        kind: "TLSRoute",
        parents: [routeParent("shop", { port: 7000 })],
      }),
    ];
    await bench.use(mesh([policyOf()], { streamRoutes }));
    for (const authority of ["shop:7001", "shop:7000"]) {
      const through = must(await bench.open(authority));
      through.write(inRecords(helloMessage()));
      assert.equal(await within("the answer", readAll(through)), "raw 22", authority);
    }
  });
});
