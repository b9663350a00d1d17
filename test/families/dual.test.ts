// The suites of `test/e2e` once more, with workloads of both families: a client with IPv4, its service with IPv6, and so on.
import { after, before, describe, test } from "node:test";
import { FAMILY_SUITES, familyHost, type FamilyHost } from "../support/families.ts";
import { needs } from "../support/needs.ts";

describe("IPv4 and IPv6 in turns", needs({ root: true, commands: ["ip"] }), () => {
  let host: FamilyHost;

  before(async () => {
    host = await familyHost("46");
  });

  after(() => host.remove());

  for (const suite of FAMILY_SUITES) test(suite, () => host.suite(suite));
});

describe("IPv6 and IPv4 in turns", needs({ root: true, commands: ["ip"] }), () => {
  let host: FamilyHost;

  before(async () => {
    host = await familyHost("64");
  });

  after(() => host.remove());

  for (const suite of ["tcp", "chain"]) test(suite, () => host.suite(suite));
});
