// The Debian package as systemd runs it on a host: started, captured, upgraded under load without a loss, reloaded, removed.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test, type TestContext } from "node:test";
import { stringify } from "yaml";
import { buildPackages, debianSystem, needsDebian, type DebianSystem } from "../support/debian.ts";
import { command } from "../support/env.ts";
import { echoed, startLab, type Lab } from "../support/lab.ts";
import type { Host } from "../support/netns.ts";
import { startProgram, type Program } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const APP = 8080;
const LISTENER = "127.0.0.1:9080";
const UNIT = "culvert-uproxy.service";
/** Before, and after the upgrade. */
const REQUESTS = 50;
const CURLS = 3;

describe("a host with systemd", needsDebian("systemd-nspawn", "nsenter", "ip", "curl"), () => {
  let folder: string;
  let lab: Lab;
  let here: Host;
  let system: DebianSystem;
  let packages: string[];
  let refusal: string | undefined;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "culvert-vm-"));
    lab = await startLab();
    here = await lab.host();
    const there = await lab.host();
    lab.mesh.write("mesh", [
      service("app", [{ name: "http", port: 80, targetPort: APP }]),
      workloadEntry("web", here.address, { serviceAccount: "web" }),
      workloadEntry("app", there.address, { serviceAccount: "app" }),
    ]);
    system = debianSystem();
    packages = await buildPackages(folder, [1, 2]);
    await Promise.all([lab.app("http", there, APP), lab.uproxy("app", there), system.install(packages[0] ?? "")]);
    await configure();
    refusal = await system.boot(here);
  });

  after(async () => {
    await system.remove();
    await lab.stop();
    rmSync(folder, { recursive: true });
  });

  /** Identity, mesh and configuration, as the guide has them. */
  async function configure(): Promise<void> {
    const { folder: identity } = await lab.mesh.issue("web");
    for (const name of readdirSync(identity)) {
      system.write(`/etc/culvert/identity/${name}`, readFileSync(join(identity, name)), "culvert-uproxy");
    }
    system.write("/etc/culvert/mesh/mesh.yaml", readFileSync(join(lab.mesh.resources, "mesh.yaml")));
    const user = Number(await system.done("id", "-u", "culvert-uproxy"));
    const config = {
      identity: { files: "/etc/culvert/identity" },
      resources: { files: "/etc/culvert/mesh", lastGood: "/var/lib/culvert-uproxy/last-good" },
      outbound: { listeners: [{ listen: LISTENER, to: "app:80" }], transparent: ":15001" },
      capture: { exempt: { user } },
      drain: { timeout: "5s" },
    };
    system.write("/etc/culvert/uproxy.yaml", stringify(config));
  }

  /** A container needs more of the kernel than root may have in one. */
  function booted(context: TestContext): boolean {
    if (refusal !== undefined) context.skip(`systemd does not boot in a container here: ${refusal.split("\n", 1)[0]}`);
    return refusal === undefined;
  }

  async function mainPid(): Promise<string> {
    return system.done("systemctl", "show", "--property=MainPID", "--value", UNIT);
  }

  test("a unit that has started is ready, and carries requests under its sandbox", async (context) => {
    if (!booted(context)) return;
    await system.done("systemctl", "enable", "--now", UNIT);
    const { app } = echoed(await lab.curl(here, `http://${LISTENER}/`));
    assert.equal(app, "10.99.0.2");
    assert.equal((await system.done("cat", "/run/culvert-uproxy/pid")).trim(), await mainPid());
    await until("the last good resources", () => existsSync(system.path("var/lib/culvert-uproxy/last-good")));
  });

  test("a unit with a wrong configuration fails at once, and is not tried again", async (context) => {
    if (!booted(context)) return;
    const unit = "culvert-waypoint.service";
    system.write("/etc/culvert/waypoint.yaml", "wrong: 1\n");
    assert.notEqual((await system.run("systemctl", "start", unit)).code, 0);
    const shown = await system.done(
      "systemctl",
      "show",
      "--property=ActiveState,Result,ExecMainStatus,NRestarts",
      unit,
    );
    const lines = shown.split("\n").toSorted();
    assert.deepEqual(lines, ["ActiveState=failed", "ExecMainStatus=2", "NRestarts=0", "Result=exit-code"]);
  });

  test("connections are captured by a unit that may do nothing else", async (context) => {
    if (!booted(context)) return;
    await system.done("systemctl", "enable", "--now", "culvert-capture.service");
    const { caller } = echoed(await lab.curl(here, `http://10.99.0.2:${APP}/`));
    assert.match(caller, /^10\.99\.0\.2:/, "the app is called by its own uproxy");
    await system.done("systemctl", "reload", "culvert-capture.service");
  });

  test("an upgrade of the package under load loses no request, and the unit follows the new process", async (context) => {
    if (!booted(context)) return;
    const old = await mainPid();
    const load = Array.from({ length: CURLS }, (_, index) => curls(`load ${index}`));
    const answers = (): number => load.reduce((sum, { errors }) => sum + errors.length, 0);
    const more = async (): Promise<void> => {
      const goal = answers() + REQUESTS;
      await until(`${REQUESTS} requests`, () => answers() >= goal || load.some(({ exit }) => exit !== undefined));
    };
    await more();
    await system.install(packages[1] ?? "");
    await more();
    for (const program of load) {
      assert.equal(program.exit, undefined, program.describe("ended"));
      // Before it is killed, which may be in the middle of a line.
      const others = program.errors.filter((line) => line !== "200");
      await program.kill();
      assert.deepEqual(others, []);
    }
    assert.notEqual(await mainPid(), old);
    assert.match(await system.done("dpkg-query", "--show", "culvert"), /-2$/);
    const active = ["systemctl", "is-active", UNIT, "culvert-capture.service"];
    assert.deepEqual((await system.done(...active)).split("\n"), ["active", "active"]);
    // Nothing is replaced now, so this is SIGHUP.
    const pid = await mainPid();
    await system.done("systemctl", "reload", UNIT);
    assert.equal(await mainPid(), pid);
    await until("the reload", async () => {
      const log = await system.done("journalctl", "--no-pager", "--output=cat", `--unit=${UNIT}`);
      return log.includes("reading files again");
    });
  });

  /** Requests one after another, each by a connection of its own, until one fails. */
  function curls(name: string): Program {
    const options = ["--silent", "--show-error", "--fail", "--fail-early", "--max-time", "10"];
    // What goes to standard output waits for a buffer to be full.
    const each = ["--header", "connection: close", "--output", "/dev/null", "--write-out", "%{stderr}%{http_code}\\n"];
    const [first = "", ...prefix] = here.prefix;
    const args = [...prefix, command("curl"), ...options, ...each, `http://${LISTENER}/[1-1000000]`];
    return startProgram({ name, command: first, args });
  }

  test("a removal stops everything and takes the rules back", async (context) => {
    if (!booted(context)) return;
    await system.done("dpkg", "--remove", "culvert");
    assert.equal(await system.done("nft", "list", "tables"), "");
    const units = await system.done("systemctl", "list-units", "--state=active", "--no-legend", "culvert*");
    assert.equal(units, "");
    assert.notEqual((await lab.curl(here, `http://${LISTENER}/`)).code, 0);
  });
});
