// Captured plaintext with an original destination in the test's hands: what the limit, the registration before the decision and
// the introduction do.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import { echo, startTcpApp, type App } from "@culvert/test/support/apps.ts";
import { id, ip, snapshot, workload } from "@culvert/test/support/fixtures.ts";
import { attempt, dial } from "@culvert/test/support/tcp.ts";
import { until } from "@culvert/test/support/until.ts";
import { Connections } from "../connection/connections.ts";
import type { ConnectionReport, ReportFacts, Reporter } from "../connection/report.ts";
import { deriveState } from "../state.ts";
import { introduce } from "./introduce.ts";
import { listenPlaintext, type PlaintextOptions } from "./plaintext.ts";

const HOST = "127.0.0.1";
const identity = { version: 1, svid: { id: id("app") }, bundles: new Map(), aliases: new Set() } as unknown as Identity;
const mesh = snapshot({ workloads: [workload("app", { addresses: [HOST] })] });
const state = deriveState(mesh, identity, { configured: undefined, addresses: [ip(HOST)] });

interface Bench {
  readonly app: App;
  readonly port: number;
  readonly connections: Connections;
  /** Codes of connections that have ended, `ok` for those without. */
  readonly ended: string[];
}

/** A listener whose connections all wanted to go to an app that echoes. */
async function bench(
  context: TestContext,
  options: Partial<PlaintextOptions> = {},
  onAccept: (connections: Connections) => void = () => {},
): Promise<Bench> {
  const app = await startTcpApp(HOST, 0, echo);
  const { port } = app;
  context.after(() => app.stop());
  const ended: string[] = [];
  let made = 0;
  const connections = new Connections(() => `c${(made += 1)}`);
  const open = (_facts: ReportFacts): ConnectionReport => {
    const report = {
      decided: () => {},
      opened: () => {},
      end: (failure: Failure | undefined) => ended.push(failure?.code ?? "ok"),
    };
    return report as unknown as ConnectionReport;
  };
  const server = await listenPlaintext({
    listen: { kind: "tcp", host: HOST, port: 0 },
    state: () => state,
    connections,
    reporter: { open } as unknown as Reporter,
    clock: systemClock,
    limits: DEFAULT_TUNNEL_LIMITS,
    app: { host: undefined, notTo: [] },
    introducedTo: new Set(),
    originalDestination: () => {
      onAccept(connections);
      return { ip: ip(HOST), port };
    },
    onAcceptError: () => {},
    ...options,
  });
  assert.ok(!isFailure(server));
  context.after(() => server.close());
  return { app, port: server.address.port, connections, ended };
}

test("a connection that was captured is carried, and counted from the app's point of view", async (context) => {
  const { port, connections, ended } = await bench(context);
  const connection = await dial(HOST, port);
  connection.send("hello");
  await connection.bytes(5);
  assert.deepEqual(
    [...connections].map(({ bytes, info }) => [
      info.direction,
      info.facts?.principal,
      bytes?.fromSocket,
      bytes?.toSocket,
    ]),
    [["inbound", undefined, 5, 5]],
  );
  connection.finish();
  assert.equal(await connection.ended(), "end");
  await until("the end of the connection", () => connections.size === 0);
  assert.deepEqual(ended, ["ok"]);
});

/** Takes permission back from what is registered by then: the app is being dialled. */
function strictSoon(connections: Connections): void {
  queueMicrotask(() => void connections.recheck(() => fail("MTLS_REQUIRED", "")));
}

test("a change while the app is dialled finds the connection, which was registered before it was decided", async (context) => {
  const { port, connections, ended, app } = await bench(context, {}, strictSoon);
  const connection = attempt(HOST, port);
  assert.equal(await connection.ended(), "ECONNRESET");
  await until("the end of the connection", () => connections.size === 0);
  assert.deepEqual(ended, ["MTLS_REQUIRED"]);
  await until("the app to be rid of it", () => app.sockets.size === 0);
});

test("more connections than the limit are reset, and room that is given back is used", async (context) => {
  const { port, connections, ended } = await bench(context, { limits: { ...DEFAULT_TUNNEL_LIMITS, maxPlaintext: 1 } });
  const first = await dial(HOST, port);
  first.send("x");
  await first.bytes(1);
  assert.equal(await attempt(HOST, port).ended(), "ECONNRESET");
  assert.deepEqual(ended, ["TOO_MANY_CONNECTIONS"]);
  first.finish();
  assert.equal(await first.ended(), "end");
  await until("room", () => connections.size === 0);
  const third = await dial(HOST, port);
  third.finish("y");
  assert.equal(await third.ended(), "end");
  assert.equal(third.received.toString(), "y");
});

test("the app is told of a caller without identity, before the caller's first byte", async (context) => {
  const server = await bench(context);
  const { port } = await bench(context, {
    introduce,
    introducedTo: new Set([server.app.port]),
    originalDestination: () => ({ ip: ip(HOST), port: server.app.port }),
  });
  const connection = await dial(HOST, port);
  const { localPort = 0 } = connection.socket;
  connection.finish("hello");
  assert.equal(await connection.ended(), "end");
  const header = Buffer.from("0d0a0d0a000d0a515549540a2111000c7f0000017f00000100000000", "hex");
  header.writeUInt16BE(localPort, 24);
  header.writeUInt16BE(server.app.port, 26);
  assert.equal(connection.received.toString("latin1"), `${header.toString("latin1")}hello`);
});

for (const [name, wantedPort, code] of [
  ["to another's address", 80, "DESTINATION_NOT_MINE"],
  ["to a port of this proxy", 15_008, "SELF_CALL"],
] as const) {
  test(`a connection ${name} is reset`, async (context) => {
    const { port, ended } = await bench(context, {
      app: { host: undefined, notTo: [{ kind: "tcp", host: "", port: 15_008 }] },
      originalDestination: () => ({ ip: ip("10.0.0.6"), port: wantedPort }),
    });
    assert.equal(await attempt(HOST, port).ended(), "ECONNRESET");
    assert.deepEqual(ended, [code]);
  });
}
