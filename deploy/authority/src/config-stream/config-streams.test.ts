import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, performServerHandshake, type ClientHttp2Session, type ServerHttp2Stream } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import { test, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import { verifyPeer } from "@culvert/shared/identity/verify.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { Log } from "@culvert/shared/observe/log.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { testAuthority } from "@culvert/test/support/ca.ts";
import { ConfigTestClient } from "@culvert/test/support/config-client.ts";
import { testIdentity } from "@culvert/test/support/identity.ts";
import { must } from "@culvert/test/support/must.ts";
import { until, within } from "@culvert/test/support/until.ts";
import { AUTHORITY_LIMITS } from "../authority-limits.ts";
import { AuthorityMetrics } from "../observe/authority-metrics.ts";
import { ConfigEvents } from "./config-events.ts";
import { ConfigStreams } from "./config-streams.ts";
import { Mesh } from "./mesh.ts";
import { readMesh, type MeshFile } from "./mesh-files.ts";

const { svid, bundles } = await testIdentity(await testAuthority("cluster.local"), "default", "web");
const [leaf, ...intermediates] = svid.chain;
const certificate = must(
  verifyPeer({ leaf: must(leaf), intermediates, bundles, now: systemClock.now(), purpose: "client" }),
);

function none(): undefined {}

/** The streams of a mesh that the test writes, to clients on one session in memory. */
async function streamsFor(context: TestContext): Promise<{
  readonly mesh: Mesh;
  readonly streams: ConfigStreams;
  readonly session: ClientHttp2Session;
  /** A state of the mesh in which the service has that address. */
  readonly read: (vip: string) => Promise<ReadonlyMap<string, MeshFile>>;
}> {
  const folder = await mkdtemp(join(tmpdir(), "culvert-config-streams-"));
  const mesh = new Mesh();
  const clock = new FakeClock();
  const facts = {
    sessions: () => 0,
    watchers: () => 0,
    trustVersion: none,
    issuerNotAfter: none,
    configClients: none,
    configDocuments: none,
  };
  const events = new ConfigEvents({
    log: new Log({ level: "error", write: none, clock }),
    metrics: new AuthorityMetrics(new Metrics({ clock }), facts),
    onFailure: none,
  });
  const streams = new ConfigStreams({
    trustDomain: () => trustDomainOf(certificate.id),
    source: { mesh, isUsable: true },
    limits: AUTHORITY_LIMITS,
    clock,
    events,
  });
  const [ours, theirs] = duplexPair();
  const serving = performServerHandshake(theirs);
  serving.on("error", none);
  theirs.on("error", none);
  serving.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", none);
    streams.serve(stream, headers, { remote: "127.0.0.1:1", authorization: undefined, certificate });
  });
  const session = connect("http://authority", { createConnection: () => ours });
  session.on("error", none);
  context.after(async () => {
    streams.drain();
    session.destroy();
    serving.destroy();
    await rm(folder, { recursive: true });
  });
  await once(session, "remoteSettings");
  const read = async (vip: string): Promise<ReadonlyMap<string, MeshFile>> => {
    const text = `apiVersion: v1\nkind: Service\nmetadata: {name: cart}\nspec: {clusterIP: ${vip}, ports: [{port: 80}]}\n`;
    await writeFile(join(folder, "mesh.yaml"), text);
    const state = await readMesh(folder, new Map(), () => 0);
    assert.ok("files" in state);
    return state.files;
  };
  return { mesh, streams, session, read };
}

test("a change that comes while clients are told of the one before reaches all of them", async (context) => {
  const { mesh, streams, session, read } = await streamsFor(context);
  const states = [await read("10.96.0.1"), await read("10.96.0.2"), await read("10.96.0.3")];
  const change = (state = states.shift()): Promise<void> => {
    const changed = mesh.use(must(state));
    assert.ok("ids" in changed);
    return streams.changed(changed);
  };
  await change();
  // More than are told before others get a turn.
  const clients = Array.from({ length: 40 }, () => new ConfigTestClient(session, {}, ["host/cart"]));
  const haveAll = (): boolean =>
    streams.clients().filter(({ acknowledged }) => acknowledged === mesh.version).length === clients.length;
  await until("all have the first state", haveAll);

  const first = change();
  await turn();
  await within("both changes", Promise.all([first, change()]));
  await until("all have the last state", haveAll);
  const version = mesh.document("Service default/cart")?.version;
  assert.deepEqual(new Set(clients.map(({ held }) => held.get("Service default/cart")?.version)), new Set([version]));
});
