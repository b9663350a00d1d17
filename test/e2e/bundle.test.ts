// One file per program: whole and alone in a folder, they check, explain, carry a request and end like the sources do.
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { stringify } from "yaml";
import { startHttpApp } from "../support/apps.ts";
import { REPOSITORY } from "../support/env.ts";
import { ask } from "../support/http.ts";
import { startMesh, PORTS, type Mesh } from "../support/mesh.ts";
import { processTree } from "../support/proc.ts";
import { startProgram, succeed, type Program } from "../support/process.ts";
import { writeWhole } from "../support/programs.ts";
import { service, waypoint, workloadEntry } from "../support/resources.ts";

const HTTP = 8000;
const READY = /"message":"ready"/;

/**
 * No types taken out, no process started, nothing written, no inspector: what a file alone in an image may do. The
 * collection after load gives memory back through `node:ffi`.
 */
const CONFINED = [
  "--no-strip-types",
  "--permission",
  "--allow-fs-read=*",
  "--allow-net",
  "--allow-ffi",
  "--disable-warning=ExperimentalWarning",
  "--disable-warning=SecurityWarning",
];

function firstLine(path: string): string | undefined {
  return readFileSync(path, "utf8").split("\n", 1)[0];
}

describe("bundles alone in a folder", () => {
  let mesh: Mesh;
  let alone: string;
  const addresses = { client: "", waypoint: "", app: "" };

  before(async () => {
    mesh = await startMesh();
    alone = join(mesh.folder, "alone");
    mkdirSync(alone);
    const built = join(mesh.folder, "built");
    await succeed(process.execPath, [join(REPOSITORY, "deploy/bundle/bundle.ts"), built]);
    for (const name of ["uproxy", "waypoint", "authority"]) {
      copyFileSync(join(built, `${name}.mjs`), join(alone, `${name}.mjs`));
    }

    for (const name of ["client", "waypoint", "app"] as const) addresses[name] = mesh.address();
    mesh.write("mesh", [
      service("app", [{ name: "http", port: HTTP }], { labels: { "istio.io/use-waypoint": "waypoint" } }),
      workloadEntry("client", addresses.client, { serviceAccount: "client" }),
      workloadEntry("app", addresses.app, { serviceAccount: "app" }),
      ...waypoint("waypoint", addresses.waypoint, { serviceAccount: "waypoint" }),
    ]);
    await mesh.with(startHttpApp(addresses.app, HTTP, "app"));
    for (const name of ["client", "waypoint", "app"] as const) {
      const { folder } = await mesh.issue(name);
      const at = (port: number): string => `${addresses[name]}:${port}`;
      const listeners = name === "client" ? [{ listen: at(HTTP), to: `app.default:${HTTP}` }] : [];
      const own =
        name === "waypoint"
          ? { gateway: { namespace: "default", name }, hbone: at(PORTS.hbone) }
          : {
              workload: { namespace: "default", name },
              inbound: { hbone: at(PORTS.hbone) },
              outbound: { listeners, proxy: at(PORTS.proxy) },
            };
      const common = { admin: at(PORTS.admin), readiness: at(PORTS.readiness), metrics: at(PORTS.metrics) };
      const config = { identity: { files: folder }, resources: { files: mesh.resources }, ...common, ...own };
      writeWhole(join(alone, `${name}.yaml`), stringify(config));
    }
  });

  after(() => mesh.stop());

  function output(program: string, ...args: readonly string[]): Promise<string> {
    return succeed(process.execPath, [...CONFINED, `${program}.mjs`, ...args], { cwd: alone });
  }

  async function start(program: "uproxy" | "waypoint", name: keyof typeof addresses): Promise<Program> {
    const args = [...CONFINED, `${program}.mjs`, "run", "--config", `${name}.yaml`];
    const started = startProgram({ name, command: process.execPath, args, cwd: alone });
    mesh.atEnd(async () => {
      await started.stop();
      assert.deepEqual([started.exit, started.errors], [{ code: 0, signal: null }, []], started.describe("its end"));
    });
    await started.line(READY);
    return started;
  }

  test("they say what they were made of", async () => {
    const fromSources = await succeed(process.execPath, [join(REPOSITORY, "uproxy/bin/uproxy.mjs"), "--version"]);
    assert.equal(await output("uproxy", "--version"), fromSources);
    assert.match(await output("waypoint", "--version"), /^waypoint \d/);
    assert.match(await output("authority", "--help"), /issue/);
  });

  test("they check and explain", async () => {
    await output("uproxy", "check", "--config", "client.yaml");
    await output("waypoint", "check", "--config", "waypoint.yaml");
    const explained = await output("uproxy", "explain", "--config", "client.yaml", "--to", `app:${HTTP}`);
    assert.ok(explained.includes(`waypoint-1 at ${addresses.waypoint}:${PORTS.hbone}`), explained);
  });

  test("a request goes through the three of them, and none has made a process", async () => {
    const running = [
      await start("uproxy", "app"),
      await start("waypoint", "waypoint"),
      await start("uproxy", "client"),
    ];
    const { status, headers } = await ask(`http://${addresses.client}:${HTTP}/`);
    assert.deepEqual([status, headers["x-app"]], [200, "app"]);
    await output("uproxy", "wait", "--config", "client.yaml", "--timeout", "5s");
    for (const { pid } of running) assert.deepEqual(processTree(pid), [pid]);
  });

  test("one of them can be run by its name, with the flags that it wants", () => {
    for (const name of ["uproxy", "waypoint"]) {
      assert.equal(firstLine(join(alone, `${name}.mjs`)), firstLine(join(REPOSITORY, name, "bin", `${name}.mjs`)));
      assert.notEqual(statSync(join(mesh.folder, "built", `${name}.mjs`)).mode & 0o100, 0);
    }
  });

  test("the licences of the packages inside go with them", () => {
    const uproxy = readFileSync(join(alone, "uproxy.mjs"), "utf8");
    assert.match(uproxy, /\/\*! hyperid .*\n[^*]*Permission is hereby granted/);
    assert.match(uproxy, /\/\*! yaml .*\n[^*]*Permission to use, copy, modify/);
    assert.match(readFileSync(join(alone, "waypoint.mjs"), "utf8"), /\/\*!.*@opentelemetry\/api .*\n\s*Apache License/);
  });
});
