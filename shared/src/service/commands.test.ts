import assert from "node:assert/strict";
import { it } from "node:test";
import { isFailure } from "../failure/failure.ts";
import { systemClock } from "../net/clock.ts";
import { listenHttp, plainReply, type HttpReply } from "../observe/http-endpoint.ts";
import { askAdmin } from "./commands.ts";

async function asked(reply: HttpReply): Promise<unknown> {
  const endpoint = await listenHttp({
    listen: { host: "127.0.0.1", port: 0 },
    clock: systemClock,
    onError: () => undefined,
    handle: () => reply,
  });
  assert(!isFailure(endpoint));
  try {
    return await askAdmin(endpoint.text, "/explain");
  } finally {
    await endpoint.close();
  }
}

const json = (body: string): HttpReply => ({ status: 200, type: "application/json", body });

it("hands on what the admin port says", async () => {
  assert.deepEqual(await asked(json('{"steps":["a"]}')), { steps: ["a"] });
});

const foreign: readonly [what: string, reply: HttpReply, says: RegExp][] = [
  ["another port of the proxy", plainReply(404, "/metrics"), /:\d+: no answer of an admin port: 404 "\/metrics\\n"$/],
  ["a handler that has failed", plainReply(500, "the log says why"), /500 "the log says why\\n"$/],
  ["JSON of something else", json("null"), /200 "null"$/],
  ["a page", { status: 200, type: "text/html", body: "<".repeat(10_000) }, /200 "<{200}"$/],
];
for (const [what, reply, says] of foreign) {
  it(`complains of ${what}`, async () => {
    const { exit, message } = (await asked(reply)) as { exit: number; message: string };
    assert.equal(exit, 1);
    assert.match(message, says);
  });
}
