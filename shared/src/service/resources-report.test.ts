import assert from "node:assert/strict";
import { test } from "node:test";
import type { Problem } from "../config/snapshot.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { Log } from "../observe/log.ts";
import { ResourcesReport } from "./resources-report.ts";

function problems(of: string, count: number): Problem[] {
  return Array.from({ length: count }, (_, index) => ({
    file: "mesh.yaml",
    line: index + 1,
    resource: `Service default/${of}`,
    path: "spec.ports",
    text: "expected a port",
    severity: "error",
  }));
}

test("of many problems the first are told and the others counted, so that the next change is told as well", () => {
  const lines: { readonly message: string; readonly resource?: string; readonly problems?: number }[] = [];
  const clock = new FakeClock(0);
  const log = new Log({ level: "info", write: (line) => void lines.push(JSON.parse(line) as never), clock });
  const report = new ResourcesReport({ log, clock, countFailure: () => undefined });
  report.take({ kind: "kept", problems: problems("one", 1_000) });
  report.take({ kind: "kept", problems: problems("other", 3) });
  const told = (name: string): number => lines.filter(({ resource }) => resource === `Service default/${name}`).length;
  assert.deepEqual([told("one"), told("other")], [20, 3]);
  assert.deepEqual(
    lines.flatMap((line) => (line.message === "further problems of the resources" ? [line.problems] : [])),
    [980],
  );
  assert.equal(report.factsOf(undefined).errors, 3);
});
