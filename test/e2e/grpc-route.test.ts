// GRPCRoute through the mesh, by the calls of a client that says everything by hand and applications that tell what they got.
import assert from "node:assert/strict";
import { connect, type ClientHttp2Session } from "node:http2";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { callOnce, type GrpcAnswer } from "../support/grpc.ts";
import { startNamedGrpcApp, type SeenCall } from "../support/grpc-named.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import {
  authorizationPolicy,
  grpcRoute,
  service,
  waypoint,
  workloadEntry,
  type Resource,
} from "../support/resources.ts";
import { putResources } from "../support/shop.ts";

const PORT = 7001;
const APP_PORT = 9000;
const V1 = { name: "shop-v1", port: PORT };
const V2 = { name: "shop-v2", port: PORT };
const GRPC = { ok: 0, permissionDenied: 7, unimplemented: 12, unavailable: 14 };

function seenIn({ messages }: GrpcAnswer): SeenCall {
  return JSON.parse(messages[0]?.toString() ?? "{}") as SeenCall;
}

describe("GRPCRoute", () => {
  let mesh: Mesh;
  let middle: Proxy;
  let session: ClientHttp2Session;

  before(async () => {
    mesh = await startMesh();
    const addresses = { client: mesh.address(), waypoint: mesh.address(), apps: [mesh.address(), mesh.address()] };
    const port = { name: "grpc", port: PORT, targetPort: APP_PORT };
    const named = addresses.apps.map((address, index) => ({ address, name: `shop-v${index + 1}` }));
    mesh.write("mesh", [
      service("shop", [port], { app: "shop", labels: { "istio.io/use-waypoint": "waypoint" } }),
      service("empty", [port]),
      ...named.flatMap(({ address, name }) => [
        service(name, [port]),
        workloadEntry(name, address, { serviceAccount: name }),
      ]),
      workloadEntry("client", addresses.client, { serviceAccount: "client" }),
      ...waypoint("waypoint", addresses.waypoint, { serviceAccount: "waypoint" }),
    ]);
    for (const { address, name } of named) {
      const app = await startNamedGrpcApp(address, APP_PORT, name);
      mesh.atEnd(() => app.stop());
    }
    const listen = hostPort(mesh.inside(addresses.client), PORT);
    [middle] = await Promise.all([
      mesh.waypoint({ name: "waypoint", address: addresses.waypoint, gateway: "waypoint" }),
      mesh.uproxy({ name: "client", address: addresses.client, listeners: [{ listen, to: `shop:${PORT}` }] }),
      ...named.map(({ address, name }) => mesh.uproxy({ name, address })),
    ]);
    session = connect(`http://${listen}`);
    session.on("error", () => undefined);
  });

  after(async () => {
    session.destroy();
    await mesh.stop();
  });

  const put = (...resources: readonly Resource[]): Promise<void> => putResources(mesh, "routes", resources, [middle]);
  const routes = (...rules: readonly object[]): Promise<void> => put(grpcRoute("shop", "shop", rules));

  function call(path: string, metadata: Readonly<Record<string, string>> = {}): Promise<GrpcAnswer> {
    return callOnce(session, path, Buffer.from("asked"), { ":authority": "shop", ...metadata });
  }

  /** Who took the call, or the status that it came to. */
  async function taker(path: string, metadata?: Readonly<Record<string, string>>): Promise<string | number> {
    const answer = await call(path, metadata);
    return answer.status === GRPC.ok ? seenIn(answer).app : answer.status;
  }

  test("services, methods and metadata choose, in the order of the standard", async () => {
    await routes(
      { matches: [{ method: { service: "shop.Reviews" } }], backendRefs: [V1] },
      { matches: [{ method: { service: "shop.Reviews", method: "List" } }], backendRefs: [V2] },
      { matches: [{ method: { method: "Everywhere" } }], backendRefs: [V2] },
      {
        matches: [{ method: { service: "shop.Reviews" }, headers: [{ name: "X-Canary", value: "yes" }] }],
        backendRefs: [V2],
      },
    );
    const table: readonly (readonly [string | number, string, Record<string, string>?])[] = [
      ["shop-v1", "/shop.Reviews/Get"],
      ["shop-v2", "/shop.Reviews/List"],
      ["shop-v2", "/shop.Reviews/Get", { "x-canary": "yes" }],
      ["shop-v1", "/shop.Reviews/Get", { "x-canary": "no" }],
      ["shop-v2", "/other.Service/Everywhere"],
      [GRPC.unimplemented, "/other.Service/Nowhere"],
      [GRPC.unimplemented, "/shop.ReviewsX/Get"],
    ];
    for (const [expected, path, metadata] of table) {
      assert.equal(await taker(path, metadata), expected, `${path} ${JSON.stringify(metadata)}`);
    }
    await middle.access({
      path: "/other.Service/Nowhere",
      response_code: 200,
      grpc_status: 12,
      code: "ROUTE_NOT_FOUND",
    });
    await middle.access({ path: "/shop.Reviews/List", grpc_status: 0, route: "default/shop", rule: "rules[1]" });
  });

  test("metadata is changed both ways, and what is not named stays", async () => {
    await routes({
      filters: [
        {
          type: "RequestHeaderModifier",
          requestHeaderModifier: {
            set: [{ name: "x-set", value: "new" }],
            add: [{ name: "x-add", value: "more" }],
            remove: ["x-gone"],
          },
        },
        { type: "ResponseHeaderModifier", responseHeaderModifier: { set: [{ name: "x-from", value: "route" }] } },
      ],
      backendRefs: [V1],
    });
    const answer = await call("/shop.Reviews/Get", { "x-set": "old", "x-add": "some", "x-gone": "1", "x-bin": "AAE" });
    const { metadata } = seenIn(answer);
    assert.deepEqual(
      ["x-set", "x-add", "x-gone", "x-bin", "te", "content-type"].map((name) => metadata[name]),
      ["new", "some, more", undefined, "AAE", "trailers", "application/grpc"],
    );
    assert.equal(answer.headers["x-from"], "route");
    assert.equal(answer.headers["x-trailer"], "shop-v1", "an application's own trailers pass");
  });

  test("weights share the calls, and what cannot be reached has its share of UNAVAILABLE", async () => {
    await routes({
      backendRefs: [
        { ...V1, weight: 1 },
        { ...V2, weight: 0 },
        { name: "not-there", port: PORT, weight: 1 },
      ],
    });
    const found = new Set<string | number>();
    for (let i = 0; i < 64; i += 1) found.add(await taker("/shop.Reviews/Get"));
    assert.deepEqual(found, new Set(["shop-v1", GRPC.unavailable]));
  });

  test("a backend without endpoints, and none at all", async () => {
    await routes({ backendRefs: [{ name: "empty", port: PORT }] });
    const empty = await call("/shop.Reviews/Get");
    assert.deepEqual([empty.status, empty.headers[":status"]], [GRPC.unavailable, 200]);
    assert.equal(empty.headers["culvert-code"], "NO_HEALTHY_UPSTREAM");
    assert.match(empty.message, /^NO_HEALTHY_UPSTREAM: /);
    await routes({ matches: [{ method: { service: "shop.Reviews" } }] });
    assert.equal(await taker("/shop.Reviews/Get"), GRPC.unavailable);
  });

  test("a policy on a method", async () => {
    const paths = ["/shop.Reviews/Drop"];
    await put(
      grpcRoute("shop", "shop", [{ backendRefs: [V1] }]),
      authorizationPolicy("drop", "DENY", { service: "shop" }, [{ to: [{ operation: { paths } }] }]),
    );
    assert.equal(await taker("/shop.Reviews/Get"), "shop-v1");
    assert.equal(await taker("/shop.Reviews/Drop"), GRPC.permissionDenied);
  });
});
