import { test } from "node:test";
import { fuzzCanonical } from "./canonical.ts";

test("paths and hosts: one spelling, and the one that other readers see", () => {
  fuzzCanonical(3000);
});
