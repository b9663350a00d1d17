// Capture by BPF (deploy/ebpf): an app's own connections, to addresses and to services, arrive where they were going without a rule of
// netfilter, and the app notices nothing.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { mountControlGroups, type ControlGroup, type ControlGroups } from "../support/control-groups.ts";
import { command, REPOSITORY } from "../support/env.ts";
import { spiffeId } from "../support/identities.ts";
import { echoed, startLab, type Lab } from "../support/lab.ts";
import type { Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import { run, succeed, type Result } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";

const SCRIPT = join(REPOSITORY, "deploy/ebpf/capture.sh");
const HTTP = 8080;
/** Nobody has these addresses, and no host has a route to them: a captured connect() never asks for one. */
const VIP = "10.96.0.10";
const VIP6 = "fd99::10";

const wanted = needs({ root: true, bpf: true, commands: ["ip", "curl", "clang", "bpftool", "mount", "unshare"] });

describe("capture by BPF", wanted, () => {
  let lab: Lab;
  let groups: ControlGroups;
  let appGroup: ControlGroup;
  let proxyGroup: ControlGroup;
  let host: Host;
  let server: Host;
  let client: Proxy;
  let name: string;

  before(async () => {
    lab = await startLab();
    const { mesh } = lab;
    groups = await mountControlGroups();
    mesh.atEnd(() => groups.remove());
    [appGroup, proxyGroup] = [groups.group("app"), groups.group("proxy")];
    [host, server] = [await lab.host(), await lab.host()];
    ({ name } = host);
    mesh.write("mesh", [
      service("shop", [{ name: "http", port: 80, targetPort: HTTP }], { clusterIP: VIP }),
      service("shop6", [{ name: "http", port: 80, targetPort: HTTP }], { app: "shop", clusterIP: VIP6 }),
      workloadEntry("shop", server.address, { serviceAccount: "shop" }),
      workloadEntry("client", host.address, { serviceAccount: "client" }),
    ]);
    await lab.app("http", server, HTTP, "0.0.0.0");
    await lab.uproxy("shop", server);
    client = await lab.uproxy(
      "client",
      host,
      // It is told from the app by its control group, so that it may run as anybody.
      { outbound: { transparent: ":15001" }, capture: { exempt: { user: process.getuid?.() ?? 0 } } },
      { prefix: [...host.prefix, ...proxyGroup.prefix] },
    );
    await capture("apply");
    mesh.atEnd(async () => void (await run(SCRIPT, scriptArguments("remove"))));
  });

  after(() => lab.stop());

  function scriptArguments(what: string): string[] {
    return [what, "--app", appGroup.path, "--proxy", proxyGroup.path, "--name", name];
  }

  function capture(what: "apply" | "remove"): Promise<string> {
    return succeed(SCRIPT, scriptArguments(what));
  }

  /** What an app in the captured group gets, with the address that it believes to be connected to. */
  function curl(url: string, ...args: readonly string[]): Promise<Result> {
    const flags = ["--silent", "--show-error", "--max-time", "10", "--write-out", "%{remote_ip} %{remote_port}"];
    const [first, ...rest] = [...host.prefix, ...appGroup.prefix, command("curl"), ...flags, ...args, url];
    return run(first, rest);
  }

  for (const [what, url, peer, serviceName] of [
    ["a workload's address", () => `http://${server.address}:${HTTP}/`, () => `${server.address} ${HTTP}`, undefined],
    ["a service's address", () => `http://${VIP}/`, () => `${VIP} 80`, "shop.default.svc.cluster.local"],
    ["a service's IPv6 address", () => `http://[${VIP6}]/`, () => `${VIP6} 80`, "shop6.default.svc.cluster.local"],
  ] as const) {
    test(`${what} is reached through a tunnel, and seen as the peer`, async () => {
      const seen = client.log.length;
      const { stdout, stderr } = await curl(url());
      const [body = "", told] = stdout.split("\n");
      const { caller } = echoed({ stdout: body, stderr });
      assert.ok(caller.startsWith(`${server.address}:`), `the app was called by ${caller}, not by its own uproxy`);
      assert.equal(told, peer());
      const line = await client.program.watch("the line of this connection", () =>
        client.log.slice(seen).find(({ target }) => target === "access"),
      );
      assert.deepEqual([line["dst.identity"], line["dst.service"]], [spiffeId("shop"), serviceName]);
    });
  }

  test("a connection to loopback is not turned", async () => {
    const { stderr } = await curl("http://127.0.0.1:1/");
    assert.match(stderr, /refused|Failed to connect/i);
    const through = await curl(`http://${VIP}/`, "--proxy", "http://127.0.0.1:15080", "--proxytunnel");
    assert.equal(through.code, 0, through.stderr);
  });

  test("applying twice, removing, removing twice: nothing is left, and connections go their own way again", async () => {
    await capture("apply");
    assert.equal((await curl(`http://${VIP}/`)).code, 0);
    await capture("remove");
    await capture("remove");
    assert.ok(!existsSync(`/sys/fs/bpf/${name}`));
    assert.equal(await succeed(command("bpftool"), ["cgroup", "show", appGroup.path]), "");
    assert.notEqual((await curl(`http://${VIP}/`, "--max-time", "2")).code, 0);
    await capture("apply");
    assert.equal((await curl(`http://${VIP}/`)).code, 0);
  });

  test("what is not a control group is refused by name", async () => {
    const { code, stderr } = await run(SCRIPT, ["apply", "--app", "/tmp", "--proxy", proxyGroup.path, "--name", name]);
    assert.equal(code, 1);
    assert.match(stderr, /\/tmp: expected a folder of control groups version 2/);
  });
});
