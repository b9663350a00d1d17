import assert from "node:assert/strict";
import { after, it } from "node:test";
import { isFailure } from "../failure/failure.ts";
import { systemClock } from "../net/clock.ts";
import { plainReply } from "./http-endpoint.ts";
import { serveMetrics } from "./metrics-server.ts";
import { Metrics } from "./metrics.ts";
import { ask } from "./http-fixtures.ts";

const metrics = new Metrics({ clock: systemClock });
metrics.counter("things_total", "Things.").with().add(2);
const endpoint = await serveMetrics({
  listen: { host: "127.0.0.1", port: 0 },
  metrics,
  clock: systemClock,
  onError: (failure) => assert.fail(failure.toString()),
  others: new Map([["/otel", () => plainReply(200, "other")]]),
});
assert(!isFailure(endpoint));
after(() => endpoint.close());

it("serves Prometheus text at both paths", async () => {
  for (const path of ["/metrics", "/stats/prometheus", "/metrics?format=x"]) {
    const { status, head, body } = await ask(endpoint.address, `GET ${path}`);
    assert.equal(status, 200);
    assert.match(head, /content-type: text\/plain; version=0\.0\.4; charset=utf-8/i);
    assert.equal(body, "# HELP things_total Things.\n# TYPE things_total counter\nthings_total 2\n");
  }
});

it("serves OpenMetrics to who accepts it", async () => {
  const accept = "Host: a\r\nAccept: application/openmetrics-text; version=1.0.0\r\n";
  const { head, body } = await ask(endpoint.address, "GET /metrics", accept);
  assert.match(head, /content-type: application\/openmetrics-text; version=1\.0\.0/i);
  assert.match(body, /# EOF\n$/);
});

it("serves other expositions by their path, nothing else, and takes nothing", async () => {
  assert.equal((await ask(endpoint.address, "GET /otel")).body, "other\n");
  assert.equal((await ask(endpoint.address, "GET /nothing")).status, 404);
  assert.equal((await ask(endpoint.address, "POST /metrics")).status, 405);
});
