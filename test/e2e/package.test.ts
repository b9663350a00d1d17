// The Debian package, installed by dpkg in a fresh Debian: its commands work, its units are sound, a pair started from it carries a
// request, and after a purge nothing of it is left.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { stringify } from "yaml";
import { buildPackages, debianSystem, needsDebian, type DebianSystem } from "../support/debian.ts";
import { command } from "../support/env.ts";
import { echoed, startLab, type Lab } from "../support/lab.ts";
import type { Host } from "../support/netns.ts";
import { run, succeed } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";

const APP = 8080;
const UNITS = ["culvert-uproxy", "culvert-waypoint", "culvert-authority", "culvert-capture"];
/** In tenths, of what `systemd-analyze security` calls the exposure: 0 is nothing, 100 is everything. */
const MOST_EXPOSED = 20;
/** What dpkg and the makers of users keep for themselves. */
const NOT_OURS = /^(?:var\/(?:lib\/dpkg|log|cache)|etc\/(?:passwd|group|shadow|gshadow)-$|etc\/\.pwd\.lock$)/;

describe("the Debian package", needsDebian("systemd-analyze", "ip", "curl"), () => {
  let folder: string;
  let system: DebianSystem;
  let deb: string;
  let tarball: string;
  let fresh: readonly string[];
  let users: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "culvert-package-"));
    const built = await Promise.all(["one", "two"].map(build));
    deb = built[0] ?? "";
    tarball = join(folder, "one", readdirSync(join(folder, "one")).find((name) => name.endsWith(".tar.gz")) ?? "");
    system = debianSystem();
    fresh = files();
    users = readFileSync(system.path("etc/passwd"), "utf8");
    await system.install(deb);
  });

  after(async () => {
    await system.remove();
    rmSync(folder, { recursive: true });
  });

  async function build(name: string): Promise<string> {
    const [made = ""] = await buildPackages(join(folder, name), [1]);
    return made;
  }

  function files(): string[] {
    // Links lead to folders of this machine, so they are not followed.
    const found = execFileSync("find", [system.root, "-xdev", "-printf", "%P\\n"], { encoding: "utf8" });
    return found
      .split("\n")
      .filter((path) => !NOT_OURS.test(path))
      .toSorted();
  }

  test("two builds are the same, to the byte", () => {
    for (const path of [deb, tarball]) {
      assert.ok(readFileSync(path).equals(readFileSync(path.replace("/one/", "/two/"))), `${path} differs`);
    }
  });

  test("its commands work, and its configuration is understood", async () => {
    for (const program of ["uproxy", "waypoint", "authority"]) {
      assert.match(
        await system.done(program, "--version"),
        new RegExp(`^${program} \\d+\\.\\d+\\.\\d+, commit [0-9a-f]{40}`),
      );
      assert.match(await system.done(program, "--help"), /check/);
    }
    await system.done("uproxy", "check");
    await system.done("waypoint", "check");
    const asAuthority = ["runuser", "-u", "culvert-authority", "--"];
    await system.done(...asAuthority, "authority", "init", "/var/lib/culvert-authority/ca", "--trust-domain", "a.test");
    await system.done(...asAuthority, "authority", "check", "--config", "/etc/culvert/authority.yaml");
  });

  test("systemd takes its units, and has little to say against their sandboxes", async () => {
    const analyze = command("systemd-analyze");
    for (const unit of UNITS) {
      const verified = await run(analyze, [`--root=${system.root}`, "--man=no", "verify", `${unit}.service`]);
      assert.deepEqual([verified.code, verified.stderr, verified.stdout], [0, "", ""]);
      const bound = ["--offline=true", `--threshold=${MOST_EXPOSED}`];
      await succeed(analyze, [`--root=${system.root}`, ...bound, "security", `${unit}.service`]);
    }
  });

  test("the tarball has the same, for /opt", async () => {
    const opt = join(folder, "opt");
    await succeed("tar", ["--one-top-level=opt", "-xzf", tarball, "-C", folder]);
    cpSync(opt, system.path("opt"), { recursive: true });
    assert.equal(await system.done("/opt/culvert/bin/uproxy", "--version"), await system.done("uproxy", "--version"));
    const unit = readFileSync(join(opt, "culvert/systemd/culvert-uproxy.service"), "utf8");
    assert.match(unit, /^ExecStart=\/opt\/culvert\/bin\/uproxy run/m);
    rmSync(system.path("opt/culvert"), { recursive: true });
  });

  test("two uproxies of it, on hosts of their own, carry a request", async (context) => {
    const lab = await startLab();
    context.after(() => lab.stop());
    const [client, server] = [await lab.host(), await lab.host()];
    lab.mesh.write("mesh", [
      service("app", [{ name: "http", port: 80, targetPort: APP }]),
      workloadEntry("client", client.address, { serviceAccount: "client" }),
      workloadEntry("app", server.address, { serviceAccount: "app" }),
    ]);
    await lab.app("http", server, APP);
    await start(lab, server, "app");
    await start(lab, client, "client");
    const { app } = echoed(await lab.curl(client, "--proxy", "http://127.0.0.1:15080", "--proxytunnel", "http://app/"));
    assert.equal(app, server.address);
    rmSync(system.path("srv/culvert"), { recursive: true });
  });

  async function start(lab: Lab, host: Host, name: string): Promise<void> {
    const { folder: identity } = await lab.mesh.issue(name);
    const inside = `/srv/culvert/${name}`;
    cpSync(identity, system.path(join(inside, "identity")), { recursive: true });
    cpSync(lab.mesh.resources, system.path(join(inside, "mesh")), { recursive: true });
    const config = { identity: { files: `${inside}/identity` }, resources: { files: `${inside}/mesh` } };
    system.write(`${inside}/uproxy.yaml`, stringify(config));
    const line = system.line(["uproxy", "run", "--config", `${inside}/uproxy.yaml`]);
    await lab.start("uproxy", host, /"message":"ready"/, ...line);
  }

  test("removed and purged nothing of it is left", async () => {
    await system.done("dpkg", "--remove", "culvert");
    const kept = readdirSync(system.path("etc/culvert"));
    assert.deepEqual(kept.toSorted(), ["authority.yaml", "uproxy.yaml", "waypoint.yaml"]);
    await system.done("dpkg", "--purge", "culvert");
    const [known, now] = [new Set(fresh), files()];
    const left = now.filter((path) => !known.has(path));
    assert.deepEqual([left, now.length], [[], fresh.length]);
    assert.equal(readFileSync(system.path("etc/passwd"), "utf8"), users);
  });
});
