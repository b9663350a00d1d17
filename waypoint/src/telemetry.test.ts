import assert from "node:assert/strict";
import { it } from "node:test";
import { systemClock } from "@culvert/shared/net/clock.ts";
import type { HttpRequest } from "@culvert/shared/observe/http-endpoint.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { telemetryHandler } from "./telemetry.ts";

const REQUEST: HttpRequest = { method: "GET", path: "/metrics/otel", query: new URLSearchParams(), headers: {} };

/** The samples of an exposition without the labels that name the instrumentation scope. */
function samples(text: string): readonly string[] {
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#") && !line.startsWith("target_info"))
    .map((line) =>
      line
        .replace(/,?otel_scope_name="culvert-waypoint"/, "")
        .replace("{}", "")
        .replace("{,", "{"),
    )
    .toSorted();
}

it("exports the same samples as our own exposition, now and after they have changed", async () => {
  const metrics = new Metrics({ clock: systemClock });
  const requests = metrics.counter("istio_requests_total", "Requests.", ["reporter", "response_code"]);
  const ready = metrics.gauge("culvert_ready", "Ready.").with();
  const duration = metrics.histogram("istio_request_duration_milliseconds", "Duration.", [1, 10], ["reporter"]);
  metrics.observeTotal("culvert_lines_total", "Lines.", () => 4);
  metrics.observeAll("culvert_info", "Info.", ["version"], () => [[['1"\\'], 1]]);
  const handler = telemetryHandler(metrics, systemClock);

  for (let round = 0; round < 2; round += 1) {
    requests.with("waypoint", "200").add(3);
    requests.with("waypoint", "503").add();
    ready.set(round);
    for (const ms of [0.5, 5, 50]) duration.with("waypoint").observe(ms);
    const reply = await handler(REQUEST);
    assert.equal(reply.status, 200);
    assert.deepEqual(samples(reply.body), samples(metrics.render("prometheus")));
  }
});
