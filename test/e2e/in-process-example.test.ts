// The example of docs/in-process.md, as it stands there: a program of its own that is called through a uproxy, and calls one.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { stringify } from "yaml";
import { examplesOf } from "../docs/examples.ts";
import { serveHttp } from "../support/apps.ts";
import { ask } from "../support/http.ts";
import { spiffeId } from "../support/identities.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { startProgram, type Program } from "../support/process.ts";
import { writeWhole } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";

const PAGE = join(import.meta.dirname, "../../docs/in-process.md");

describe("the service of docs/in-process.md", () => {
  let mesh: Mesh;
  let caller: Proxy;
  let web: Program;

  before(async () => {
    mesh = await startMesh();
    const [webAddress, apiAddress, callerAddress] = [mesh.address(), mesh.address(), mesh.address()];
    mesh.write("mesh", [
      service("web", [{ name: "http", port: 80, targetPort: 8080 }]),
      service("api", [{ name: "http", port: 80, targetPort: 8000 }]),
      workloadEntry("web-1", webAddress, { app: "web", serviceAccount: "web" }),
      workloadEntry("api", apiAddress, { serviceAccount: "api" }),
      workloadEntry("caller", callerAddress, { serviceAccount: "caller" }),
    ]);
    await mesh.with(serveHttp(apiAddress, 8000, (_request, answer) => void answer.end("books")));
    await mesh.uproxy({ name: "api", address: apiAddress });
    const listeners = [{ listen: hostPort(mesh.inside(callerAddress), 8080), to: "web:80" }];
    caller = await mesh.uproxy({ name: "caller", address: callerAddress, listeners });

    const { folder } = await mesh.issue("web");
    const config = join(mesh.folder, "web.yaml");
    const inbound = { hbone: hostPort(webAddress, 15008) };
    const workload = { namespace: "default", name: "web-1" };
    writeWhole(
      config,
      stringify({ identity: { files: folder }, resources: { files: mesh.resources }, workload, inbound }),
    );
    const code = examplesOf(PAGE, readFileSync(PAGE, "utf8")).find(({ text }) => text.startsWith("// web.mjs"));
    assert.ok(code !== undefined, "the page has no web.mjs");
    web = startProgram({
      name: "web",
      command: process.execPath,
      args: ["--disable-warning=ExperimentalWarning", "--input-type=module", "--eval", code.text, "web.mjs", config],
      // From here the package is found by its name.
      cwd: join(import.meta.dirname, ".."),
    });
    mesh.atEnd(() => web.stop());
    await web.line(/"message":"serving"/);
  });

  after(() => mesh.stop());

  test("is called, calls, knows who asks, and ends in order", async () => {
    const { body } = await ask(`http://${hostPort(caller.inside, 8080)}/`);
    assert.equal(body, `books for ${spiffeId("caller")}`);
    await web.stop();
    assert.deepEqual([web.exit?.code, web.errors], [0, []]);
  });
});
