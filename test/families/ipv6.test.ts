// The suites of `test/e2e` once more, with IPv6 in the place of IPv4.
import { after, before, describe, test } from "node:test";
import { familyHost, familySuites, type FamilyHost } from "../support/families.ts";
import { needs } from "../support/needs.ts";

describe("IPv6", needs({ root: true, commands: ["ip"] }), () => {
  let host: FamilyHost;

  before(async () => {
    host = await familyHost("6");
  });

  after(() => host.remove());

  for (const file of familySuites()) test(file, () => host.suite(file));
});
