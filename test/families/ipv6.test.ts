// The suites of `test/e2e` once more, with IPv6 in the place of IPv4.
import { after, before, describe, test } from "node:test";
import { FAMILY_SUITES, familyHost, type FamilyHost } from "../support/families.ts";
import { needs } from "../support/needs.ts";

describe("IPv6", needs({ root: true, commands: ["ip"] }), () => {
  let host: FamilyHost;

  before(async () => {
    host = await familyHost("6");
  });

  after(() => host.remove());

  for (const suite of FAMILY_SUITES) test(suite, () => host.suite(suite));
});
