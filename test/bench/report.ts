// Pure. Tables of figures and the ratios that the targets are about.
import type { Results } from "./rounds.ts";

/** A column: which figure, under which heading, with how many decimals. */
export interface Column {
  readonly figure: string;
  readonly heading: string;
  readonly decimals: number;
}

/** A target: a figure of ours against the same figure of another subject, or against a number. */
export interface Target {
  readonly what: string;
  readonly ours: string;
  readonly figure: string;
  /** Subject that is compared with; without it the figure itself must keep the limit. */
  readonly against?: string;
  /** Figure of the other subject when it has another name there. */
  readonly otherFigure?: string;
  readonly limit: number;
  readonly direction: "at least" | "at most";
}

/** A target with what came out. */
export interface Verdict {
  readonly target: Target;
  readonly value: number;
  readonly met: boolean;
}

function pad(text: string, width: number): string {
  return text.padStart(width);
}

/** A table with one row for each subject. Figures that were not measured show as `-`. */
export function table(title: string, results: Results, columns: readonly Column[]): string {
  const rows = [...results].map(([subject, figures]) => {
    const cells = columns.map(({ figure, decimals }) => figures.get(figure)?.toFixed(decimals) ?? "-");
    return [subject].concat(cells);
  });
  const header = ["", ...columns.map(({ heading }) => heading)];
  const widths = header.map((heading, index) =>
    Math.max(heading.length, ...rows.map((row) => row[index]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells.map((cell, index) => (index === 0 ? cell.padEnd(widths[0] ?? 0) : pad(cell, widths[index] ?? 0))).join("  ");
  return [title, line(header), ...rows.map(line)].map((text) => text.trimEnd()).join("\n");
}

/** Compares results with targets; a target whose figures were not measured is left out. */
export function judge(results: Results, targets: readonly Target[]): Verdict[] {
  const verdicts: Verdict[] = [];
  for (const target of targets) {
    const ours = results.get(target.ours)?.get(target.figure);
    const other =
      target.against === undefined ? 1 : results.get(target.against)?.get(target.otherFigure ?? target.figure);
    if (ours === undefined || other === undefined) continue;
    const value = ours / other;
    const met = target.direction === "at least" ? value >= target.limit : value <= target.limit;
    verdicts.push({ target, value, met });
  }
  return verdicts;
}

/** The verdicts as lines: what, the value, the limit, and whether it was met. */
export function verdictLines(verdicts: readonly Verdict[]): string {
  const widest = Math.max(0, ...verdicts.map(({ target }) => target.what.length));
  return verdicts
    .map(({ target, value, met }) => {
      const limit = `${target.direction} ${target.limit.toFixed(2)}`;
      return `${target.what.padEnd(widest)}  ${pad(value.toFixed(2), 6)}  ${limit.padEnd(14)}  ${met ? "met" : "MISSED"}`;
    })
    .join("\n");
}
