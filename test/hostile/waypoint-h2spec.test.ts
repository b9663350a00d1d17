// The conformance suite h2spec against the HTTP/2 that a waypoint speaks with a client inside its tunnel.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { LIBRARY, runH2spec } from "../support/h2spec.ts";
import { needs } from "../support/needs.ts";
import { SHOP, startShop, type Shop } from "../support/shop.ts";

/** The cases that do not apply. */
const EXPECTED: Readonly<Record<string, string>> = {
  ...LIBRARY,
  "http2/3.5: Sends invalid connection preface":
    "what does not begin with the preface is read, and refused, as HTTP/1.1",
};

describe("h2spec against a waypoint", needs({ commands: ["h2spec"] }), () => {
  let shop: Shop;

  before(async () => {
    shop = await startShop();
  });

  after(() => shop.mesh.stop());

  test("every case passes that applies, and the waypoint serves on", async () => {
    const { failed, stdout } = await runH2spec(shop.client.inside, SHOP.http, shop.mesh.folder);
    const unexpected = failed.filter((name) => !(name in EXPECTED));
    assert.deepEqual(unexpected, [], stdout.slice(stdout.indexOf("Failures:")));
    const connection = await shop.dial();
    connection.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert.equal((await connection.answer()).status, 200);
  });
});
