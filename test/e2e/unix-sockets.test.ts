// Explicit listeners on UNIX sockets: an app that only has a folder in common with its uproxy reaches the mesh.
import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startHttpApp, type Echoed } from "../support/apps.ts";
import { command } from "../support/env.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { run } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";

const HTTP = 8080;

/** Asks the app through a socket of its uproxy. */
async function ask(...args: readonly string[]): Promise<Echoed> {
  const { stdout, stderr } = await run(command("curl"), ["--silent", "--show-error", "--max-time", "10", ...args]);
  assert.notEqual(stdout, "", stderr);
  return JSON.parse(stdout) as Echoed;
}

describe("explicit listeners on UNIX sockets", needs({ commands: ["curl"] }), () => {
  let mesh: Mesh;
  let client: Proxy;
  let listener: string;
  let proxy: string;

  before(async () => {
    mesh = await startMesh();
    const [clientAddress, appAddress] = [mesh.address(), mesh.address()];
    listener = join(mesh.folder, "app.sock");
    proxy = join(mesh.folder, "proxy.sock");
    mesh.write("mesh", [
      service("app", [{ name: "http", port: 80, targetPort: HTTP }]),
      workloadEntry("app", appAddress, { serviceAccount: "app" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
    ]);
    await mesh.with(startHttpApp(appAddress, HTTP, "app"));
    await mesh.uproxy({ name: "app", address: appAddress });
    client = await mesh.uproxy({
      name: "client",
      address: clientAddress,
      config: {
        outbound: { listeners: [{ listen: `unix:${listener}`, to: "app:80", mode: "0600" }], proxy: `unix://${proxy}` },
      },
    });
  });

  after(() => mesh.stop());

  test("a listener leads to its destination, and the log says through which socket", async () => {
    assert.equal((await ask("--unix-socket", listener, "http://app/hello")).url, "/hello");
    const line = await client.access({ "src.addr": `unix:${listener}`, "dst.workload": "app" });
    assert.equal(line["src.workload"], "client");
    assert.equal(line["code"], undefined);
  });

  test("the proxy port may be a socket too", async () => {
    const echoed = await ask("--socks5-hostname", `localhost${proxy}`, "http://app.default/through");
    assert.equal(echoed.url, "/through");
    await client.access({ "src.addr": `unix:${proxy}`, "dst.workload": "app" });
  });

  test("the files have their modes, and are gone after the end", async () => {
    assert.equal(statSync(listener).mode & 0o777, 0o600);
    assert.equal(statSync(proxy).mode & 0o777, 0o660);
    assert.equal((await client.program.stop()).code, 0);
    assert.ok(!existsSync(listener) && !existsSync(proxy));
  });
});
