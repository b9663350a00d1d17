import assert from "node:assert/strict";
import { it } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { Metrics } from "./metrics.ts";
import { RequestMetrics } from "./request-metrics.ts";
import { traffic } from "./traffic-fixtures.ts";

function setUp() {
  const metrics = new Metrics({ clock: new FakeClock() });
  const series = new RequestMetrics(metrics).between(traffic({ reporter: "waypoint" }), "http");
  const lines = (name: string): readonly string[] =>
    metrics
      .render("prometheus")
      .split("\n")
      .filter((line) => line.startsWith(`${name}{`));
  return { metrics, series, lines };
}

it("has Istio's labels in Istio's order", () => {
  const { series, lines } = setUp();
  series.record(200, undefined, "-", 3, 0, 10);
  assert.deepEqual(lines("istio_requests_total"), [
    'istio_requests_total{reporter="waypoint",source_workload="client-1",source_canonical_service="client",' +
      'source_canonical_revision="v1",source_workload_namespace="default",' +
      'source_principal="spiffe://cluster.local/ns/default/sa/client",source_app="client",source_version="v1",' +
      'source_cluster="unknown",destination_workload="reviews-1",destination_workload_namespace="default",' +
      'destination_principal="spiffe://cluster.local/ns/default/sa/reviews",destination_app="unknown",' +
      'destination_version="unknown",destination_service="reviews.default.svc.cluster.local",' +
      'destination_canonical_service="reviews",destination_canonical_revision="latest",' +
      'destination_service_name="reviews",destination_service_namespace="default",destination_cluster="unknown",' +
      'request_protocol="http",response_code="200",grpc_response_status="",response_flags="-",' +
      'connection_security_policy="mutual_tls"} 1',
  ]);
});

it("tells outcomes apart by code, gRPC status and flags, and finds them again", () => {
  const { series, lines } = setUp();
  const outcomes: readonly [number, number | undefined, string][] = [
    [200, undefined, "-"],
    [503, undefined, "UH"],
    [503, undefined, "UF"],
    [200, 14, "-"],
    [0, undefined, "DC"],
  ];
  for (let round = 0; round < 3; round += 1) {
    for (const [code, grpcStatus, flags] of outcomes) series.record(code, grpcStatus, flags, 1, 1, 1);
  }
  const requests = lines("istio_requests_total");
  assert.equal(requests.length, outcomes.length);
  for (const line of requests) assert.match(line, / 3$/);
});

it("measures time and sizes in Envoy's buckets", () => {
  const { series, lines } = setUp();
  for (const ms of [0.2, 7, 7, 5_000_000]) series.record(200, undefined, "-", ms, 300, 0);
  const buckets = lines("istio_request_duration_milliseconds_bucket").map((line) => [
    /le="([^"]+)"/.exec(line)?.[1],
    Number(line.slice(line.lastIndexOf(" "))),
  ]);
  assert.equal(buckets.length, 20);
  assert.deepEqual(buckets[0], ["0.5", 1]);
  assert.deepEqual(buckets[3], ["10", 3]);
  assert.deepEqual(buckets.at(-2), ["3600000", 3]);
  assert.deepEqual(buckets.at(-1), ["+Inf", 4]);
  assert.match(lines("istio_request_bytes_sum")[0] ?? "", / 1200$/);
  assert.match(lines("istio_response_bytes_count")[0] ?? "", / 4$/);
});

it("stays bounded when an upstream answers with every code there is", () => {
  const { series, lines } = setUp();
  for (let code = 100; code < 1000; code += 1) series.record(code, undefined, "-", 1, 1, 1);
  assert.equal(lines("istio_requests_total").length, 900);
  assert.equal(lines("istio_request_duration_milliseconds_count").length, 201);
  series.record(100, undefined, "-", 1, 1, 1);
  assert.match(lines("istio_requests_total").find((line) => line.includes('response_code="100"')) ?? "", / 2$/);
});
