// Machine. The table that is kept of how the proxies differ, each row with the reason why ours is as it is.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Traits } from "./compare.ts";
import { PROXIES, type ProxyName } from "./proxies.ts";
import type { Findings } from "./run.ts";

const FILE = join(import.meta.dirname, "differences.json");

/** A row of it. */
export interface Row extends Readonly<Record<ProxyName, string>> {
  readonly oddity: string;
  readonly aspect: string;
}

/** The file. */
export interface Table {
  readonly about: string;
  /** What a proxy does to all requests. */
  readonly traits: Readonly<Record<ProxyName, Traits>>;
  /** Oddity → why ours is as it is. */
  readonly why: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
}

/** The rows of findings, as the table has them. */
export function rowsOf({ rows }: Findings): readonly Row[] {
  return rows.map(({ oddity, aspect, fates }) => ({ oddity, aspect, ...fates }));
}

/** Reads the table. */
export function readTable(): Table {
  return JSON.parse(readFileSync(FILE, "utf8")) as Table;
}

/** Writes the table anew; reasons stay, those for what does not differ any more go. */
export function writeTable(findings: Findings): void {
  const { about, why } = readTable();
  const rows = rowsOf(findings);
  const oddities = [...new Set(rows.map(({ oddity }) => oddity))];
  const reasons = Object.fromEntries(oddities.map((oddity) => [oddity, why[oddity] ?? ""]));
  const traits = Object.fromEntries(PROXIES.map((name) => [name, findings.traits[name]]));
  writeFileSync(FILE, `${JSON.stringify({ about, traits, why: reasons, rows }, undefined, 2)}\n`);
}
