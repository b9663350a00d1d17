// The four architectures on loopback, with resources from files and an explicit client: the same bodies in each.
import { after, before, describe, test } from "node:test";
import { ARCHITECTURE_BODIES } from "../support/architecture-bodies.ts";
import { startArchitecture, type Architecture } from "../support/architecture.ts";
import { PLACEMENTS } from "../support/architecture-resources.ts";

for (const placement of PLACEMENTS.filter((each) => each === "node" || each === "remote")) {
  describe(`placement ${placement}`, () => {
    let architecture: Architecture;

    before(async () => {
      architecture = await startArchitecture(placement);
    });

    after(() => architecture.site.mesh.stop());

    for (const { name, run } of ARCHITECTURE_BODIES) test(name, () => run(architecture));
  });
}
