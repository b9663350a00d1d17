// Machine. Whether a program gives back what it took: descriptors and connections after the load is over.
import { descriptors } from "./proc.ts";
import type { Program } from "./process.ts";
import { until } from "./until.ts";

/** What a program holds when nobody uses it. */
export interface Baseline {
  readonly program: Program;
  readonly descriptors: number;
}

/** Takes the measure of a program that is at rest. */
export function baselineOf(program: Program): Baseline {
  return { program, descriptors: descriptors(program.pid) };
}

/**
 * Waits until the program holds no more descriptors than at its baseline and `allowed` more (pooled sessions may stay). Fails
 * with what is left over.
 */
export async function settlesAt(baseline: Baseline, allowed: number): Promise<void> {
  const { program } = baseline;
  const bound = baseline.descriptors + allowed;
  await until(`${program.name} to hold at most ${bound} descriptors`, () => {
    const now = descriptors(program.pid);
    if (now > bound) throw new Error(`${program.name} holds ${now} descriptors, ${baseline.descriptors} at rest`);
    return true;
  });
}
