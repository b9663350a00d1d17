import assert from "node:assert/strict";
import { it } from "node:test";
import { fail } from "../failure/failure.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { Metrics } from "./metrics.ts";
import { TcpMetrics } from "./tcp-metrics.ts";
import { traffic } from "./traffic-fixtures.ts";

function setUp() {
  const clock = new FakeClock();
  const metrics = new Metrics({ clock });
  const tcp = new TcpMetrics(metrics);
  /** Value of a metric's series with this flag; `undefined` when there is none. */
  const value = (name: string, flags = "-"): number | undefined => {
    const line = metrics
      .render("prometheus")
      .split("\n")
      .find((one) => one.startsWith(`${name}{`) && one.includes(`response_flags="${flags}"`));
    return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(" ")));
  };
  return { clock, metrics, tcp, value };
}

it("has ztunnel's labels in ztunnel's order, and `unknown` for what is not known", () => {
  const { metrics, tcp } = setUp();
  tcp.between(traffic()).open();
  assert.match(
    metrics.render("prometheus"),
    new RegExp(
      'istio_tcp_connections_opened_total\\{reporter="destination",source_workload="client-1",' +
        'source_canonical_service="client",source_canonical_revision="v1",source_workload_namespace="default",' +
        'source_principal="spiffe://cluster.local/ns/default/sa/client",source_app="client",source_version="v1",' +
        'source_cluster="unknown",destination_service="reviews.default.svc.cluster.local",' +
        'destination_service_namespace="default",destination_service_name="reviews",destination_workload="reviews-1",' +
        'destination_canonical_service="reviews",destination_canonical_revision="latest",' +
        'destination_workload_namespace="default",destination_principal="spiffe://cluster.local/ns/default/sa/reviews",' +
        'destination_app="unknown",destination_version="unknown",destination_cluster="unknown",request_protocol="tcp",' +
        'response_flags="-",connection_security_policy="mutual_tls"\\} 1\n',
    ),
  );
});

it("says unknown of an end of which nothing is known", () => {
  const { metrics, tcp } = setUp();
  const nobody = { workload: undefined, principal: undefined };
  tcp.between(traffic({ source: nobody, service: undefined, security: "unknown" })).open();
  assert.match(
    metrics.render("prometheus"),
    /source_workload="unknown".*source_principal="unknown".*destination_service="unknown"/,
  );
});

it("counts bytes by their direction as the connection goes on, and the rest at its end", () => {
  const { tcp, value } = setUp();
  const connection = tcp.between(traffic()).open();
  assert.equal(value("istio_tcp_connections_opened_total"), 1);
  connection.progress(10, 100);
  connection.progress(10, 150);
  assert.equal(value("istio_tcp_received_bytes_total"), 10);
  assert.equal(value("istio_tcp_sent_bytes_total"), 150);
  connection.closed(15, 160, undefined);
  connection.closed(15, 160, undefined);
  assert.equal(value("istio_tcp_received_bytes_total"), 15);
  assert.equal(value("istio_tcp_sent_bytes_total"), 160);
  assert.equal(value("istio_tcp_connections_closed_total"), 1);
  assert.equal(value("istio_tcp_connections_failed_total"), undefined);
});

it("flags what failed, and counts a refusal as failed only", () => {
  const { tcp, value } = setUp();
  const series = tcp.between(traffic());
  series.open().closed(0, 0, fail("APP_RESET", ""));
  assert.equal(value("istio_tcp_connections_closed_total", "UC"), 1);
  assert.equal(value("istio_tcp_connections_failed_total", "UC"), 1);
  series.refused(fail("DENIED_BY_POLICY", ""));
  assert.equal(value("istio_tcp_connections_failed_total", "DENY"), 1);
  assert.equal(value("istio_tcp_connections_opened_total"), 1);
});

it("keeps opened and closed comparable while a connection is open, however idle", () => {
  const { clock, tcp, value } = setUp();
  const series = tcp.between(traffic());
  series.open().closed(1, 1, undefined);
  const connection = series.open();
  value("");
  clock.advance(3_600_000);
  assert.equal(value("istio_tcp_connections_opened_total"), 2);
  assert.equal(value("istio_tcp_connections_closed_total"), 1);
  assert.equal(value("istio_tcp_sent_bytes_total"), undefined, "bytes are not compared, so their series ends");
  connection.closed(0, 5, undefined);
  assert.equal(value("istio_tcp_sent_bytes_total"), 5);
});
