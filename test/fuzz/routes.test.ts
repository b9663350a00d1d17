import { test } from "node:test";
import { fuzzRoutes } from "./routes.ts";

test("routes: the index finds what asking every match finds", () => {
  fuzzRoutes(400);
});
