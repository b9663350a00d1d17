// gRPC's interoperability cases, with grpc-go on both sides of the mesh.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { GRPC_INTEROP, INTEROP_CASES, interopCase, startInteropServer } from "../support/grpc-interop.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { service, workloadEntry } from "../support/resources.ts";

const DIRECT = 7001;

describe("gRPC interoperability", needs({ commands: GRPC_INTEROP }), () => {
  let mesh: Mesh;
  let client: Proxy;

  before(async () => {
    mesh = await startMesh();
    const addresses = { client: mesh.address(), app: mesh.address() };
    const server = await startInteropServer();
    await mesh.with(Promise.resolve(server.program));
    mesh.write("mesh", [
      service("direct", [{ name: "grpc", port: DIRECT, targetPort: server.port, appProtocol: "grpc" }], { app: "app" }),
      workloadEntry("client", addresses.client, { serviceAccount: "client" }),
      workloadEntry("app", addresses.app, { serviceAccount: "app" }),
    ]);
    [client] = await Promise.all([
      mesh.uproxy({
        name: "client",
        address: addresses.client,
        listeners: [{ listen: hostPort(mesh.inside(addresses.client), DIRECT), to: `direct:${DIRECT}` }],
      }),
      mesh.uproxy({ name: "app", address: addresses.app }),
    ]);
  });

  after(() => mesh.stop());

  describe("uproxy to uproxy", () => {
    for (const name of INTEROP_CASES) {
      test(name, async () => {
        const { code, stdout, stderr } = await interopCase(name, client.inside, DIRECT);
        assert.equal(code, 0, `${stdout}\n${stderr}`);
      });
    }
  });
});
