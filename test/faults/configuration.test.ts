// Configuration that changes as fast as it can be written, under load: whoever connects sees one state whole, and the newest wins.
import assert from "node:assert/strict";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import { stringify } from "yaml";
import { echo, startTcpApp } from "../support/apps.ts";
import { ConfigAuthority } from "../support/config-authority.ts";
import { ask } from "../support/http.ts";
import { startMesh } from "../support/mesh.ts";
import { memory } from "../support/proc.ts";
import { workloadEntry, type Resource } from "../support/resources.ts";
import { converse } from "../support/tcp.ts";
import { observe, until } from "../support/until.ts";

const ECHO = 7001;
/** A hundred a second. */
const EVERY_MS = 10;
const FLIPS = 400;
/** More than what two snapshots take, and much less than four hundred. */
const ROOM_MIB = 40;

test("a hundred versions a second: each connection sees one whole, memory is flat, the newest wins", async (context) => {
  const mesh = await startMesh();
  context.after(() => mesh.stop());
  const [client, app] = [mesh.address(), mesh.address()];
  /** Service and workload agree in each version; of two versions mixed, nothing would be selected. */
  const versionOf = (version: number): readonly Resource[] => [
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "app", namespace: "default" },
      spec: { selector: { version: `v${version}` }, ports: [{ name: "tcp", port: ECHO }] },
    },
    workloadEntry("app", app, { serviceAccount: "app", labels: { version: `v${version}` } }),
    workloadEntry("client", client, { serviceAccount: "client" }),
  ];
  mesh.write("mesh", versionOf(0));
  const authority = await ConfigAuthority.start(mesh);
  await mesh.with(startTcpApp(app, ECHO, echo));
  await mesh.uproxy({ name: "app", address: app, config: await authority.proxyConfig("app") });
  const proxy = await mesh.uproxy({
    name: "client",
    address: client,
    listeners: [{ listen: `${client}:${ECHO}`, to: `app:${ECHO}` }],
    config: await authority.proxyConfig("client"),
  });
  assert.equal(String((await converse(client, ECHO, "first")).received), "first");
  const before = memory(proxy.program.pid).anon;

  const flips = new AbortController();
  let connections = 0;
  const load = (async () => {
    while (!flips.signal.aborted) {
      const { received } = await converse(client, ECHO, "hello");
      assert.equal(String(received), "hello", `connection ${connections}`);
      connections += 1;
    }
  })();
  const began = performance.now();
  for (let version = 1; version <= FLIPS; version += 1) {
    const written = join(mesh.resources, ".mesh.tmp");
    writeFileSync(
      written,
      versionOf(version)
        .map((resource) => stringify(resource))
        .join("---\n"),
    );
    renameSync(written, join(mesh.resources, "mesh.yaml"));
    await observe(Math.max(0, began + version * EVERY_MS - performance.now()));
  }
  await until("the newest", async () => {
    const { body } = await ask(`http://${proxy.admin}/config_dump`);
    return body.includes(`v${FLIPS}`);
  });
  flips.abort();
  await load;
  assert.ok(connections > 20, `${connections} connections`);
  const { body } = await ask(`http://${client}:${proxy.ports.metrics}/metrics`);
  const applied = Number(/^culvert_configuration_updates_total\{result="applied"\} (\d+)$/m.exec(body)?.[1]);
  assert.ok(applied > 5, `${applied} updates`);
  assert.match(body, /^culvert_configuration_updates_total\{result="refused"\} 0$/m);
  const after = memory(proxy.program.pid).anon;
  assert.ok(after < before + ROOM_MIB, `RssAnon ${before.toFixed(1)} MiB before, ${after.toFixed(1)} MiB after`);
});
