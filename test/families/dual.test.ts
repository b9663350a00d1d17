// The suites of `test/e2e` once more, with workloads of both families: a client with IPv4, its service with IPv6, and so on.
import { after, before, describe, test } from "node:test";
import { familyHost, familySuites, type FamilyHost } from "../support/families.ts";
import { needs } from "../support/needs.ts";

describe("IPv4 and IPv6 in turns", needs({ root: true, commands: ["ip"] }), () => {
  let host: FamilyHost;

  before(async () => {
    host = await familyHost("46");
  });

  after(() => host.remove());

  for (const file of familySuites()) test(file, () => host.suite(file));
});

describe("IPv6 and IPv4 in turns", needs({ root: true, commands: ["ip"] }), () => {
  let host: FamilyHost;

  before(async () => {
    host = await familyHost("64");
  });

  after(() => host.remove());

  for (const file of ["tcp.test.ts", "chain.test.ts"]) test(file, () => host.suite(file));
});
