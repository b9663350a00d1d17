// Root. The conformance cases as tests, with one kind of echo app: those that are known to fail must fail.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { needs } from "../support/needs.ts";
import { readCases } from "./case.ts";
import { KNOWN_FAILURES } from "./known-failures.ts";
import { startConformanceLab, type ConformanceLab, type EchoKind } from "./lab.ts";
import { conformanceNeeds, fitsEcho, runCase } from "./runner.ts";

/** Declares them. */
export function describeSuite(kind: EchoKind): void {
  describe(`conformance with the echo app ${kind}`, needs(conformanceNeeds(kind)), () => {
    let lab: ConformanceLab;
    before(async () => {
      lab = await startConformanceLab(kind);
    });
    after(() => lab.stop());
    for (const one of [...readCases("mesh"), ...readCases("gateway")].filter((each) => fitsEcho(each, kind))) {
      test(one.name, async () => {
        const { problems } = await runCase(lab, one);
        if (KNOWN_FAILURES[one.name] === undefined) assert.deepEqual(problems, []);
        else assert.notDeepEqual(problems, [], `${one.name} passes: take it out of the known failures`);
      });
    }
  });
}
