// Machine. What all HTTP/2 sessions of a process share: bounds, options, and the scratch that heads are read into.
import type { ServerSessionOptions, SessionOptions } from "node:http2";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Deadlines } from "../deadlines.ts";
import type { HttpLimits } from "../http/limits.ts";
import type { Http1Shared } from "../http1/shared-state.ts";
import { DEFAULT_HTTP2_LIMITS, downstreamOptions, upstreamOptions, type Http2Limits } from "./limits.ts";
import { Http2RequestHead } from "./request-head.ts";
import { Http2ResponseHead } from "./response-head.ts";

/** Made once for each process. */
export class Http2Shared {
  /** The state of all exchanges, in whatever version of HTTP. */
  readonly http: Http1Shared;
  readonly limits: Http2Limits;
  readonly downstream: ServerSessionOptions;
  readonly upstream: SessionOptions;
  readonly requestHead: Http2RequestHead;
  readonly responseHead: Http2ResponseHead;

  constructor(http: Http1Shared, limits: Http2Limits = DEFAULT_HTTP2_LIMITS) {
    this.http = http;
    this.limits = limits;
    this.downstream = downstreamOptions(limits);
    this.upstream = upstreamOptions(limits);
    this.requestHead = new Http2RequestHead(http.limits, http.upgrades);
    this.responseHead = new Http2ResponseHead(http.limits);
  }

  /** Bounds that do not depend on the version of HTTP. */
  get messages(): HttpLimits {
    return this.http.limits;
  }

  get clock(): Clock {
    return this.http.clock;
  }

  get deadlines(): Deadlines {
    return this.http.deadlines;
  }
}
