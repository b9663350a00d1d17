// gRPC's interoperability cases, with grpc-go on both sides of the mesh.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { GRPC_INTEROP, INTEROP_CASES, interopCase } from "../support/grpc-interop.ts";
import { GRPC_PORTS, startGrpcMesh, type GrpcMesh } from "../support/grpc-mesh.ts";
import { ask } from "../support/http.ts";
import { PORTS } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";

describe("gRPC interoperability", needs({ commands: GRPC_INTEROP }), () => {
  let running: GrpcMesh;

  before(async () => {
    running = await startGrpcMesh();
  });

  after(() => running.mesh.stop());

  async function passes(name: string, port: number): Promise<void> {
    // How long a call takes is the machine's business.
    const patience = name.endsWith("_soak") ? ["--soak_per_iteration_max_acceptable_latency_ms=10000"] : [];
    const { code, stdout, stderr } = await interopCase(name, running.client.inside, port, patience);
    assert.equal(code, 0, `${stdout}\n${stderr}`);
  }

  describe("uproxy to uproxy", () => {
    for (const name of INTEROP_CASES) test(name, () => passes(name, GRPC_PORTS.direct));
  });

  describe("by way of a waypoint", () => {
    for (const name of INTEROP_CASES) test(name, () => passes(name, GRPC_PORTS.grpc));

    test("the waypoint has seen calls, with their statuses, and not bytes", async () => {
      const { waypoint } = running;
      const table = {
        "/grpc.testing.TestService/EmptyCall": 0,
        "/grpc.testing.TestService/UnimplementedCall": 12,
        "/grpc.testing.UnimplementedService/UnimplementedCall": 12,
      };
      for (const [path, status] of Object.entries(table)) {
        await waypoint.access({ path, method: "POST", protocol: "HTTP/2", response_code: 200, grpc_status: status });
      }
      const { body } = await ask(`http://${hostPort(waypoint.address, PORTS.metrics)}/metrics`);
      const counted = body.split("\n").filter((line) => line.startsWith("istio_requests_total{"));
      for (const status of [0, 2, 12]) {
        assert.ok(
          counted.some(
            (line) => line.includes(`request_protocol="grpc"`) && line.includes(`grpc_response_status="${status}"`),
          ),
          counted.join("\n"),
        );
      }
    });
  });
});
