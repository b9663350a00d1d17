import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_HTTP_LIMITS } from "../http/limits.ts";
import { Crowd, UNCOUNTED } from "./crowd.ts";

const COUNTED = DEFAULT_HTTP_LIMITS.upstreamPerEndpoint - UNCOUNTED;

test("one tenant has half of what is counted, and another finds room; what has left makes room again", () => {
  const crowd = new Crowd();
  const [one, other] = [{}, {}];
  const joined = (tenant: object): number => {
    let count = 0;
    while (crowd.join(tenant)) count += 1;
    return count;
  };
  assert.equal(joined(one), COUNTED / 2);
  assert.equal(joined(other), COUNTED / 4);
  for (let count = 0; count < COUNTED / 2; count += 1) crowd.leave(one);
  assert.equal(joined(other), COUNTED / 4);
  assert.equal(joined(one), COUNTED / 4);
});
