// By which group the keys of a session are agreed, how both ends learn it, and who is refused.
import { equal, match, ok } from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { connect, createServer } from "node:tls";
import type { AddressInfo } from "node:net";
import { staticSource } from "@culvert/test/support/identity.ts";
import { tunnelCast, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import type { PairOptions, TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import { groupOfSession } from "../identity/key-group.ts";
import { TlsContexts } from "../identity/tls.ts";

function record(...bytes: number[]): Buffer {
  return Buffer.from(bytes);
}

async function started(context: TestContext, options: PairOptions): Promise<TunnelPair> {
  const pair = await tunnelPair(options);
  context.after(() => pair.close());
  return pair;
}

for (const [what, options] of [
  ["by default", {}],
  ["where the client insists", { clientCompliance: "pqc" }],
  ["where the server insists", { serverCompliance: "pqc" }],
  ["where both insist", { clientCompliance: "pqc", serverCompliance: "pqc" }],
] as const) {
  test(`keys are agreed by X25519MLKEM768 ${what}, and both ends know it`, async (context) => {
    const pair = await started(context, options);
    const { opened, accepted } = await pair.tunnel();
    equal(opened.keyGroup, "X25519MLKEM768");
    equal(accepted.keyGroup, "X25519MLKEM768");
    for (const events of [pair.poolEvents, pair.serverEvents]) equal(events[0]?.keyGroup, "X25519MLKEM768");
  });
}

for (const [curve, group] of [
  ["X25519", "X25519"],
  ["P-256", "P-256"],
  ["X25519:P-256", "X25519"],
] as const) {
  test(`a client that knows ${curve} alone is served by ${group}, unless the server insists on more`, async (context) => {
    const { client } = await tunnelCast();
    const options = new TlsContexts(staticSource(client)).clientOptions();
    for (const serverCompliance of [undefined, "pqc"] as const) {
      const pair = await started(context, serverCompliance === undefined ? {} : { serverCompliance });
      const socket = connect({
        ...options,
        secureContext: undefined,
        cert: client.svid.chainPem,
        key: client.svid.keyPem,
        ca: [...client.bundles.values()].map(({ pem }) => pem),
        ecdhCurve: curve,
        host: "127.0.0.1",
        port: pair.server.address.port,
      });
      socket.on("error", () => {});
      context.after(() => socket.destroy());
      const event = await until("the server's word", () => pair.serverEvents[0]);
      if (serverCompliance === undefined) {
        equal(event.keyGroup, group);
      } else {
        equal(event.kind, "session-refused");
        equal(event.failure?.code, "KEY_EXCHANGE_REFUSED");
        match(event.remote, /^127\.0\.0\.1:\d+$/);
      }
    }
  });
}

test("a server that does not know X25519MLKEM768 is refused by a client that insists", async (context) => {
  const { server: identity } = await tunnelCast();
  const classical = createServer({
    ...new TlsContexts(staticSource(identity)).serverOptions(),
    ecdhCurve: "X25519",
  });
  classical.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => classical.listen(0, "127.0.0.1", resolve));
  context.after(() => new Promise((resolve) => classical.close(resolve)));
  const pair = await started(context, { clientCompliance: "pqc" });
  const { port } = classical.address() as AddressInfo;
  const refused = await pair.pool.open({ ...pair.target, port }, { authority: "10.0.0.1:80", headers: {} });
  ok(isFailure(refused));
  equal(refused.code, "KEY_EXCHANGE_REFUSED");
  match(refused.detail, /takes no handshake by X25519MLKEM768 alone/);
});

test("what is no session of the known form names no group, and is wiped all the same", () => {
  equal(groupOfSession(undefined), undefined);
  equal(groupOfSession(record()), undefined);
  equal(groupOfSession(record(0x30, 0x02, 0x02, 0x00)), undefined);
  equal(groupOfSession(record(0x30, 0x05, 0xb3, 0x03, 0x02, 0x01, 0x1d)), "X25519");
  equal(groupOfSession(record(0x30, 0x06, 0xb3, 0x04, 0x02, 0x02, 0x11, 0xec)), "X25519MLKEM768");
  equal(groupOfSession(record(0x30, 0x05, 0xb3, 0x03, 0x02, 0x01, 0x1e)), "0x001e");
  equal(groupOfSession(record(0x30, 0x08, 0xb3, 0x06, 0x02, 0x04, 0x01, 0x02, 0x03, 0x04)), undefined);
  const secret = record(0x30, 0x03, 0x04, 0x01, 0x55);
  groupOfSession(secret);
  ok(secret.every((byte) => byte === 0));
});
