// Pure. The values of results that a test needs to be there.
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";

/** The value; a failure, an error or nothing at all is thrown. */
export function must<T>(value: T): Exclude<T, Failure | Error | undefined> {
  if (isFailure(value)) throw new Error(value.toString());
  if (value instanceof Error) throw value;
  if (value === undefined) throw new Error("there is no value");
  return value as Exclude<T, Failure | Error | undefined>;
}

/** What a failure says; anything else is thrown. */
export function refusal(value: unknown): string {
  if (!isFailure(value)) throw new Error("this has not failed");
  return value.toString();
}
