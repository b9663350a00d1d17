// No waypoint: uproxy to uproxy: what must hold in every architecture (see docs/architectures.md), however an app comes into the mesh.
import { testMatrix } from "../support/matrix/bodies.ts";

testMatrix("none");
