// Machine. Interleaved rounds: in each round every subject is started afresh and every measurement is made of one subject
// right after the other, so that a noisy minute hits all of them. Figures are medians over the rounds.
import { systemClock } from "@culvert/shared/net/clock.ts";
import { firstAnswer } from "./load.ts";
import type { Figures, Place, Running, Subject } from "./subject.ts";

/** One measurement of a running subject. */
export interface Measurement {
  readonly name: string;
  measure(running: Running): Promise<Figures>;
}

/** What the rounds gave: subject to figure to median. */
export type Results = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Middle value of some, the mean of the two middle ones when their number is even. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  if (upper === undefined) return Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

/** Subjects in another order for each round, so that none always follows the same neighbour. */
function rotated<T>(items: readonly T[], by: number): T[] {
  const at = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}

/** One measurement; when a process of the subject has died, that is what the error is about. */
async function measured(measurement: Measurement, running: Running): Promise<Figures> {
  const died = (cause?: unknown): void => {
    for (const program of running.parts.values()) {
      if (program.exit !== undefined) throw new Error(program.describe(`died under ${measurement.name}`), { cause });
    }
  };
  try {
    const figures = await measurement.measure(running);
    died();
    return figures;
  } catch (error) {
    died(error);
    throw error;
  }
}

async function stopAll(all: readonly Running[]): Promise<void> {
  await Promise.all(all.flatMap((running) => [...running.parts.values()].map((program) => program.stop(5000))));
}

/** Runs everything; `say` gets one line of progress per step. */
export async function interleave(options: {
  readonly subjects: readonly Subject[];
  readonly measurements: readonly Measurement[];
  readonly rounds: number;
  readonly place: (subject: Subject, round: number) => Place;
  readonly say: (line: string) => void;
}): Promise<Results> {
  const samples = new Map<string, Map<string, number[]>>(options.subjects.map(({ name }) => [name, new Map()]));
  const note = (subject: string, figures: Figures): void => {
    const own = samples.get(subject) ?? new Map<string, number[]>();
    for (const [figure, value] of Object.entries(figures)) own.set(figure, [...(own.get(figure) ?? []), value]);
  };
  for (let round = 0; round < options.rounds; round++) {
    const order = rotated(options.subjects, round);
    const started: { subject: Subject; running: Running }[] = [];
    try {
      for (const subject of order) {
        const running = await subject.start(options.place(subject, round));
        const startedAt = systemClock.monotonic();
        started.push({ subject, running });
        const readyMs = await firstAnswer(running.http, startedAt);
        if (running.parts.size > 0) note(subject.name, { readyMs });
      }
      for (const measurement of options.measurements) {
        for (const { subject, running } of started) {
          options.say(`round ${round + 1}/${options.rounds}: ${measurement.name}: ${subject.name}`);
          note(subject.name, await measured(measurement, running));
        }
      }
    } finally {
      await stopAll(started.map(({ running }) => running));
    }
  }
  return new Map(
    [...samples].map(([subject, figures]) => [
      subject,
      new Map([...figures].map(([figure, values]) => [figure, median(values)])),
    ]),
  );
}
