import assert from "node:assert/strict";
import { after, it } from "node:test";
import { isFailure } from "../failure/failure.ts";
import { systemClock } from "../net/clock.ts";
import { ask } from "./http-fixtures.ts";
import { Readiness, serveReadiness } from "./readiness.ts";

const readiness = new Readiness(["identity", "resources"]);
const endpoint = await serveReadiness({
  listen: { host: "127.0.0.1", port: 0 },
  readiness,
  clock: systemClock,
  onError: (failure) => assert.fail(failure.toString()),
});
assert(!isFailure(endpoint));
after(() => endpoint.close());
const { address } = endpoint;

async function probe(): Promise<readonly [number, string]> {
  const { status, body } = await ask(address, "GET /healthz/ready", "Host: 10.0.0.5:15021\r\n");
  return [status, body];
}

it("is ready when all parts are, says in one line what is missing, and is not ready again once it drains", async () => {
  assert.deepEqual(await probe(), [503, "identity: not there yet; resources: not there yet\n"]);
  readiness.set("identity", true);
  readiness.set("resources", false, "the folder\nis empty");
  assert.deepEqual(await probe(), [503, "resources: the folder is empty\n"]);
  readiness.set("resources", true);
  assert.deepEqual(await probe(), [200, "ready\n"]);
  readiness.set("identity", false, "expired");
  assert.deepEqual(await probe(), [503, "identity: expired\n"]);
  readiness.set("identity", true);
  readiness.draining();
  readiness.set("identity", true);
  assert.deepEqual(await probe(), [503, "draining\n"]);
});

it("is live throughout, and serves nothing else", async () => {
  assert.equal((await ask(address, "GET /healthz/live")).status, 200);
  assert.equal((await ask(address, "HEAD /healthz/live")).status, 200);
  assert.equal((await ask(address, "GET /")).status, 404);
  assert.equal((await ask(address, "POST /healthz/live")).status, 405);
});
