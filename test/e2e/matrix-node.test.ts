// A waypoint on each node: what must hold in every architecture (see docs/architectures.md), however an app comes into the mesh.
import { testMatrix } from "../support/matrix/bodies.ts";

testMatrix("node");
