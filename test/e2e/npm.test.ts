// Packages as they are published, installed by name in an empty folder: programs run there, a request goes through two of them, and a
// TypeScript program takes types of theirs.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { stringify } from "yaml";
import { startHttpApp } from "../support/apps.ts";
import { command, REPOSITORY } from "../support/env.ts";
import { ask } from "../support/http.ts";
import { startMesh, PORTS, type Mesh } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { packageOf, packForNpm, startNpmRegistry, type NpmRegistry } from "../support/npm-registry.ts";
import { processTree } from "../support/proc.ts";
import { startProgram, succeed, type ProgramOptions } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";

const HTTP = 8000;
const INSTALL_MS = 120_000;
/** Declarations of others that are not clean by themselves would hide ours. */
const STRICT = { module: "nodenext", target: "esnext", strict: true, noEmit: true, types: ["node"] };

const CONSUMER = `
import { isFailure } from "@culvert/shared/failure/failure.js";
import { parseSpiffeId, workloadOf, type SpiffeId } from "@culvert/shared/identity/spiffe-id.js";
import { openMesh, type Mesh } from "@culvert/in-process";


// Every module of it is there: it finds nothing but its files missing.
const mesh: Mesh | string = await openMesh({ identity: { files: "/none" }, resources: { files: "/none" } }).catch(
  (error: Error) => error.name,
);
if (mesh !== "MeshError") throw new Error(String(mesh));

const id = parseSpiffeId("spiffe://example.test/ns/default/sa/web");
if (isFailure(id)) throw new Error(id.toString());
const checked: SpiffeId = id;
process.stdout.write(workloadOf(checked)?.serviceAccount ?? "none");
`;

function list(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" });
}

describe("packages from the registry, in an empty folder", needs({ commands: ["npm", "npx", "tar"] }), () => {
  let folder: string;
  let empty: string;
  let tarballs: string[];
  let registry: NpmRegistry;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "culvert-npm-"));
    empty = join(folder, "empty");
    mkdirSync(empty);
    tarballs = await packForNpm(join(folder, "packed"));
    registry = await startNpmRegistry(tarballs);
  });

  after(async () => {
    await registry.stop();
    rmSync(folder, { recursive: true });
  });

  /** Nothing but this registry, nothing of this machine's user, and the Node.js that programs are for. */
  function npm(program: "npm" | "npx", ...args: readonly string[]): Promise<string> {
    const env = {
      PATH: `${dirname(process.execPath)}:${dirname(command("npm"))}:/usr/bin:/bin`,
      HOME: folder,
      npm_config_registry: registry.url,
      npm_config_cache: join(folder, "cache"),
      npm_config_audit: "false",
      npm_config_fund: "false",
      npm_config_update_notifier: "false",
    };
    const options: Partial<ProgramOptions> = { cwd: empty, env };
    return succeed(command(program), args, { ...options, deadlineMs: INSTALL_MS });
  }

  async function start(mesh: Mesh, name: string, address: string): Promise<number> {
    const { folder: identity } = await mesh.issue(name);
    const at = (port: number): string => `${address}:${port}`;
    const config = {
      workload: { namespace: "default", name },
      identity: { files: identity },
      resources: { files: mesh.resources },
      inbound: { hbone: at(PORTS.hbone) },
      outbound: {
        listeners: name === "client" ? [{ listen: at(HTTP), to: `app.default:${HTTP}` }] : [],
        proxy: at(PORTS.proxy),
      },
      admin: at(PORTS.admin),
      readiness: at(PORTS.readiness),
      metrics: at(PORTS.metrics),
    };
    const file = join(folder, `${name}.yaml`);
    writeFileSync(file, stringify(config));
    const program = join(empty, "node_modules/.bin/uproxy");
    const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
    const started = startProgram({ name, command: program, args: ["run", "--config", file], env });
    mesh.atEnd(async () => {
      await started.stop();
      assert.deepEqual([started.exit, started.errors], [{ code: 0, signal: null }, []], started.describe("its end"));
    });
    await started.line(/"message":"ready"/);
    return started.pid;
  }

  test("npx runs a program by the name of its package", async () => {
    const printed = await npm("npx", "--yes", "@culvert/uproxy", "--version");
    const ofSources = await succeed(process.execPath, [join(REPOSITORY, "uproxy/bin/uproxy.mjs"), "--version"]);
    assert.equal(printed, ofSources);
    assert.deepEqual(list(empty), []);
  });

  describe("installed", () => {
    let modules: string;

    before(async () => {
      await npm("npm", "install", "--silent", ...tarballs.map(packageOf), "@types/node");
      modules = join(empty, "node_modules/@culvert");
    });

    test("they hold what runs, what is read and what types are, and neither TypeScript nor tests", () => {
      const files = list(modules);
      const wrong = /(?<!\.d)\.ts$|\.test\.|fixture|golden|vectors|strip/;
      assert.deepEqual(
        files.filter((name) => wrong.test(name)),
        [],
      );
      for (const name of readdirSync(modules)) {
        for (const file of ["LICENSE", "README.md", "package.json"]) assert.ok(files.includes(`${name}/${file}`));
      }
      const scripts = files.filter((name) => name.endsWith(".js"));
      assert.ok(scripts.length > 300);
      assert.deepEqual(
        scripts.filter((name) => !files.includes(name.replace(/\.js$/, ".d.ts"))),
        [],
      );
    });

    test("each program answers to its name", async () => {
      for (const program of ["waypoint", "authority"]) {
        assert.match(await npm("npx", "--no-install", program, "--version"), new RegExp(`^${program} \\d`));
      }
    });

    test("a TypeScript program takes types of theirs, and all declarations hold", async () => {
      writeFileSync(join(empty, "package.json"), JSON.stringify({ private: true, type: "module" }));
      writeFileSync(join(empty, "consumer.ts"), CONSUMER);
      const all = list(modules).filter((name) => name.endsWith(".d.ts"));
      const exported = new Set(all.map(exportOf));
      const imports = [...exported].map((name) => `import type {} from "@culvert/${name}";`);
      writeFileSync(join(empty, "everything.ts"), imports.join("\n"));
      writeFileSync(join(empty, "tsconfig.json"), JSON.stringify({ compilerOptions: STRICT, include: ["*.ts"] }));
      await succeed(join(REPOSITORY, "node_modules/.bin/tsc"), ["--project", empty]);
      assert.equal(await succeed(process.execPath, ["consumer.ts"], { cwd: empty }), "web");
    });

    test("a request goes through two uproxies, which make no process and write nothing", async (context) => {
      const mesh = await startMesh();
      context.after(() => mesh.stop());
      const addresses = { client: mesh.address(), app: mesh.address() };
      mesh.write("mesh", [
        service("app", [{ name: "http", port: HTTP }]),
        workloadEntry("client", addresses.client, { serviceAccount: "client" }),
        workloadEntry("app", addresses.app, { serviceAccount: "app" }),
      ]);
      await mesh.with(startHttpApp(addresses.app, HTTP, "app"));
      const there = list(join(empty, "node_modules"));
      for (const name of ["app", "client"] as const) {
        const pid = await start(mesh, name, addresses[name]);
        assert.deepEqual(processTree(pid), [pid]);
      }
      const { status, headers } = await ask(`http://${addresses.client}:${HTTP}/`);
      assert.deepEqual([status, headers["x-app"]], [200, "app"]);
      assert.deepEqual(list(join(empty, "node_modules")), there);
    });
  });
});

/** The specifier of a declaration, from its path below the scope: without `src`, as the package's exports name it. */
function exportOf(path: string): string {
  // It has one door; what is behind it is imported through that.
  if (path.startsWith("in-process/")) return "in-process";
  return path.replace("/src/", "/").replace(/\.d\.ts$/, ".js");
}
