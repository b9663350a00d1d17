// Machine. Opens the resources that the configuration names, and waits for the first ones. Only what is configured is loaded.
import { EXIT } from "../config/cli.ts";
import { formatProblem } from "../config/problem-text.ts";
import type { ResourcesConfig } from "../config/process/process-config.ts";
import type { ResourceSource } from "../config/resource-source.ts";
import type { ResourcesOptions } from "../config/resources-in-use.ts";
import type { StreamEvents, StreamLimits, StreamNeeds } from "../config/stream/stream-options.ts";
import { isFailure } from "../failure/failure.ts";
import { keepProcess } from "../net/clock.ts";
import type { Metrics } from "../observe/metrics.ts";
import { StartFailure } from "./start-failure.ts";

/** What opening needs beside what every source does. An authority narrows by itself what it tells. */
export interface FirstResourcesOptions extends Omit<ResourcesOptions, "lastGood"> {
  readonly config: ResourcesConfig;
  /** Where a source that has metrics of its own registers them. */
  readonly metrics: Metrics;
  readonly stream: StreamNeeds & { readonly limits: StreamLimits; readonly events: StreamEvents };
  /** Told again and again, one line each, while there are none. */
  readonly onWaiting: (reason: string) => void;
  /** Settles when the process is to end. */
  readonly ended: Promise<void>;
}

/**
 * Opens the source. A folder that cannot be used, with nothing kept, is a failure; an authority is waited for, however long that
 * takes: whoever starts us knows best when to give up. Undefined when the process is to end.
 */
export async function firstResources(
  options: FirstResourcesOptions,
): Promise<ResourceSource | StartFailure | undefined> {
  const { config, metrics, ended, stream, narrow, ...common } = options;
  if (config.kind === "files") {
    const { openResourceFolder } = await import("../config/files-source.ts");
    const folder = await openResourceFolder({
      ...common,
      narrow,
      folder: config.folder,
      lastGood: config.lastGood,
    });
    return "get" in folder ? folder : new StartFailure(EXIT.usage, folder.map(formatProblem));
  }
  const { openResourceStream } = await import("../config/stream/stream-source.ts");
  const givingUp = new AbortController();
  const letGo = keepProcess();
  try {
    const opening = openResourceStream({
      ...common,
      ...stream,
      authority: config,
      lastGood: config.lastGood,
      signal: givingUp.signal,
    });
    const first = await Promise.race([opening, ended]);
    if (first === undefined) givingUp.abort();
    if (isFailure(first)) return new StartFailure(EXIT.usage, [`resources.authority: ${first.toString()}`]);
    if (first === undefined) return undefined;
    const { registerStreamMetrics } = await import("../observe/stream-metrics.ts");
    registerStreamMetrics(metrics, () => first.stream);
    return first;
  } finally {
    letGo();
  }
}
