// Machine. What all HTTP/1.1 connections of a process share: bounds, time, the scratch that heads are read into, and the
// kept-alive upstream connections.
import type { Clock } from "@culvert/shared/net/clock.ts";
import { Deadlines } from "../deadlines.ts";
import { WEBSOCKET } from "../http/websocket.ts";
import type { HttpLimits } from "../http/limits.ts";
import { RequestHeadReader } from "./parse/request-head.ts";
import { ResponseHeadReader } from "./parse/response-head.ts";
import { HeadScanner } from "./parse/scan.ts";

/** Made once for each process. */
export class Http1Shared {
  readonly limits: HttpLimits;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  /** Protocols that clients may switch to, lower case. */
  readonly upgrades: ReadonlySet<string>;
  readonly requestHead: RequestHeadReader;
  readonly responseHead: ResponseHeadReader;

  /** @param upgrades protocols that clients may switch to, lower case */
  constructor(limits: HttpLimits, clock: Clock, upgrades: readonly string[] = [WEBSOCKET]) {
    this.limits = limits;
    this.clock = clock;
    this.deadlines = new Deadlines(clock);
    const { headBytes, fieldLines, nameBytes, valueBytes } = limits;
    const bounds = { headBytes, fieldLines, nameBytes, valueBytes };
    this.upgrades = new Set(upgrades);
    this.requestHead = new RequestHeadReader(new HeadScanner(bounds), this.upgrades);
    this.responseHead = new ResponseHeadReader(new HeadScanner(bounds));
  }
}
