// Pure. The deadline of a call as `grpc-timeout` carries it: at most eight digits and a unit (gRPC over HTTP/2 "Requests").

/** Milliseconds of each unit. */
const UNITS: ReadonlyMap<string, number> = new Map([
  ["H", 3_600_000],
  ["M", 60_000],
  ["S", 1_000],
  ["m", 1],
  ["u", 1e-3],
  ["n", 1e-6],
]);

const MAX_VALUE = 99_999_999;

/** Milliseconds; `undefined` when it is not well-formed, which is left to the server to judge. */
export function parseGrpcTimeout(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits) * (UNITS.get(unit) ?? 1);
}

/** The longest time that is not over `ms`, in the finest unit that has room for it from microseconds on; never 0. */
export function formatGrpcTimeout(ms: number): string {
  for (const unit of ["u", "m", "S", "M"]) {
    const value = Math.floor(ms / (UNITS.get(unit) ?? 1));
    if (value <= MAX_VALUE) return `${Math.max(value, 1)}${unit}`;
  }
  return `${Math.min(Math.floor(ms / 3_600_000), MAX_VALUE)}H`;
}
