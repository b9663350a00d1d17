// The four architectures on loopback, with resources from files and an explicit client: the same bodies in each.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ARCHITECTURE_BODIES } from "../support/architecture-bodies.ts";
import { startArchitecture, type Architecture } from "../support/architecture.ts";
import { PORTS } from "../support/mesh.ts";
import { spawnWithConfig } from "../support/programs.ts";
import { within } from "../support/until.ts";
import { PLACEMENTS } from "../support/architecture-resources.ts";

for (const placement of PLACEMENTS) {
  describe(`placement ${placement}`, () => {
    let architecture: Architecture;

    before(async () => {
      architecture = await startArchitecture(placement);
    });

    after(() => architecture.site.mesh.stop());

    if (placement === "service-account") {
      test("an instance with another account does not start, and says why", () => refused(architecture));
    }

    for (const { name, run } of ARCHITECTURE_BODIES) test(name, () => run(architecture));
  });
}

async function refused({ site: { mesh } }: Architecture): Promise<void> {
  const identity = await mesh.issue("somebody");
  const address = mesh.address();
  const program = spawnWithConfig("waypoint", {
    name: "somebody",
    folder: mesh.folder,
    config: {
      gateway: { namespace: "default", name: "waypoint" },
      identity: { files: identity.folder },
      resources: { files: mesh.resources },
      hbone: `${address}:${PORTS.hbone}`,
      admin: "off",
      readiness: "off",
      metrics: "off",
    },
  });
  mesh.atEnd(() => program.stop());
  assert.equal((await within("its end", program.exited)).code, 3);
  assert.match(
    program.errors.join("\n"),
    /Gateway default\/waypoint is for spiffe:\/\/cluster\.local\/ns\/default\/sa\/reviews, and this waypoint is spiffe:\/\/cluster\.local\/ns\/default\/sa\/somebody/,
  );
}
