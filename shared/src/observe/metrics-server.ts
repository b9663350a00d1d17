// Machine. The port that Prometheus scrapes.
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { EXPOSITION_TYPES, negotiateExposition } from "./exposition.ts";
import { listenHttp, plainReply } from "./http-endpoint.ts";
import type { HttpEndpoint, HttpHandler, HttpListen } from "./http-endpoint.ts";
import type { Metrics } from "./metrics.ts";

/** Paths of the exposition; the second is where Istio's scrape configuration looks. */
const PATHS: ReadonlySet<string> = new Set(["/metrics", "/stats/prometheus"]);

/** Serves the metrics, and other expositions by their path. Fails with PORT_UNAVAILABLE. */
export function serveMetrics(options: {
  readonly listen: HttpListen;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly onError: (failure: Failure) => void;
  readonly others?: ReadonlyMap<string, HttpHandler>;
}): Promise<HttpEndpoint | Failure> {
  const { listen, metrics, clock, onError, others } = options;
  return listenHttp({
    listen,
    clock,
    onError,
    handle: (request) => {
      if (request.method !== "GET" && request.method !== "HEAD") {
        return { ...plainReply(405, "only GET"), headers: { allow: "GET, HEAD" } };
      }
      if (PATHS.has(request.path)) {
        const format = negotiateExposition(request.headers.accept);
        return { status: 200, type: EXPOSITION_TYPES[format], body: metrics.render(format) };
      }
      return others?.get(request.path)?.(request) ?? plainReply(404, "/metrics");
    },
  });
}
