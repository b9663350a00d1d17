import { test } from "node:test";
import { fuzzDns } from "./dns.ts";

test("DNS: whatever comes, nothing throws, and what is answered is well-formed and no larger than it may be", () => {
  fuzzDns(5000);
});
