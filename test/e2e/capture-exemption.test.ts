// Who is exempted from capture: uproxy itself, told by its user or by a mark, and what becomes of what it must not carry. Hosts are
// network namespaces; both backends, IPv4 and IPv6.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createToken, initAuthority } from "../support/authority.ts";
import { assertReset, echoed, startLab, type Lab } from "../support/lab.ts";
import { asUser } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import { startNamed } from "../support/named.ts";
import { commandLine } from "../support/programs.ts";
import { service, serviceEntry, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

/** What uproxy runs as, where it is told by that. */
const PROXY = 1337;
const OTHER = 2000;
const PORTS = { http: 8080 };

for (const backend of ["nft", "iptables"] as const) {
  const commands = ["ip", "nft", "iptables", "curl", "setpriv", "dig", "named"];
  describe(`exempted from capture by ${backend}`, needs({ root: true, commands }), () => {
    let lab: Lab;
    let serverHost: Host;
    let outsideHost: Host;

    before(async () => {
      lab = await startLab();
      [serverHost, outsideHost] = [await lab.host(), await lab.host()];
      lab.mesh.write("mesh", [
        service("app", [{ name: "http", port: 80, targetPort: PORTS.http }]),
        workloadEntry("app", serverHost.address, { serviceAccount: "app" }),
        workloadEntry("app6", serverHost.address6, { serviceAccount: "app" }),
        serviceEntry("www", "www.example.test", { ports: [{ number: 80, name: "http" }], resolution: "DNS" }),
      ]);
      for (const host of [serverHost, outsideHost]) {
        for (const address of [host.address, host.address6]) await lab.app("http", host, PORTS.http, address);
      }
      await lab.uproxy("app", serverHost, { workload: { name: "app" } });
    });

    after(() => lab.stop());

    test("where unknown destinations are refused, the app sees a reset", async () => {
      const host = await lab.host();
      const strict = await lab.uproxy(
        "strict",
        host,
        { outbound: { transparent: ":15001", unknown: "refuse" } },
        { account: "client", user: PROXY },
      );
      await lab.capture(host, "apply", "strict", backend);
      for (const address of [outsideHost.address, `[${outsideHost.address6}]`]) {
        const url = `http://${address}:${PORTS.http}/`;
        assertReset(await lab.curl(host, url));
        await strict.access({ "dst.addr": `${address}:${PORTS.http}`, code: "EGRESS_REFUSED" });
      }
      await lab.capture(host, "remove", "strict", backend);
      const { code } = await lab.curl(host, `http://${outsideHost.address}:${PORTS.http}/`);
      assert.equal(code, 0, "without the rules it is as if uproxy were not there");
    });

    test("rules that catch uproxy itself make it refuse the connection, not dial itself without end", async () => {
      const host = await lab.host();
      const lost = await lab.uproxy(
        "lost",
        host,
        { outbound: { transparent: ":15001" }, capture: { exempt: { user: PROXY + 1 } } },
        { account: "client", user: PROXY + 1 },
      );
      // The rules of another configuration, which exempt another user.
      const other = "identity: {files: identity}\nresources: {files: mesh}\noutbound: {transparent: ':15001'}\n";
      writeFileSync(join(lab.mesh.folder, "other.yaml"), other);
      await lab.capture(host, "apply", "other", backend);
      for (const address of [outsideHost.address, `[${outsideHost.address6}]`]) {
        const url = `http://${address}:${PORTS.http}/`;
        assertReset(await lab.curl(host, url));
      }
      await lost.logged({ code: "LOOP_DETECTED" });
      const ended = lost.log.filter(({ target }) => target === "access");
      assert.ok(ended.length <= 2, `${ended.length} connections of 2`);
      const tunnelled = await lab.curl(host, `http://${serverHost.address}:${PORTS.http}/mesh`);
      assert.equal(echoed(tunnelled).url, "/mesh", "tunnels are never captured");
    });

    test("told by a mark, uproxy needs one capability and any user", async () => {
      const host = await lab.host();
      const marked = await lab.uproxy(
        "marked",
        host,
        { outbound: { transparent: ":15001" }, capture: { exempt: { mark: 0x539 } } },
        { account: "client", user: OTHER, capability: "net_admin" },
      );
      await lab.capture(host, "apply", "marked", backend);
      for (const address of [serverHost.address, `[${serverHost.address6}]`, outsideHost.address]) {
        echoed(await lab.curl(host, `http://${address}:${PORTS.http}/marked`));
        await marked.access({ "dst.addr": `${address}:${PORTS.http}`, code: undefined });
      }
      const line = commandLine("uproxy", ["run", "--config", join(lab.mesh.folder, "marked.yaml")]);
      const unprivileged = await lab.on(outsideHost, ...asUser(OTHER), line.command, ...line.args);
      assert.equal(unprivileged.code, 1);
      assert.match(unprivileged.stderr, /outbound\.transparent: SO_MARK needs CAP_NET_ADMIN: EPERM/);
    });

    test("told by a mark, it answers the app's questions and asks its own past the rules", async () => {
      const resolver = await lab.host();
      lab.mesh.atEnd(() => named.stop());
      const named = await startNamed(join(lab.mesh.folder, "named"), resolver.address, resolver.prefix);
      const host = await lab.host();
      lab.network.resolvConf(host, `nameserver ${resolver.address}\n`);
      // Somewhere to send packets to before a rule turns them.
      for (const via of [resolver.address, resolver.address6]) {
        await lab.done(host, "ip", "route", "add", "default", "via", via);
      }
      const config = {
        outbound: { transparent: ":15001" },
        dns: "localhost:15053",
        capture: { exempt: { mark: 0x539 } },
      };
      const rules = { identity: { files: "identity" }, resources: { files: "mesh" }, ...config };
      writeFileSync(join(lab.mesh.folder, "rules.yaml"), JSON.stringify(rules));
      // The rules come first, so that what uproxy itself asks by the system's resolver comes back to it as well.
      await lab.capture(host, "apply", "rules", backend);
      const asking = await lab.uproxy("asking", host, config, {
        account: "client",
        user: OTHER,
        capability: "net_admin",
      });
      for (const transport of ["+notcp", "+tcp"]) {
        const found = await lab.done(host, "dig", "+short", transport, "short.example.test");
        assert.equal(found, "192.0.2.11");
      }
      assert.equal(echoed(await lab.curl(host, "http://app.default/by-name")).url, "/by-name");
      await asking.access({ "dst.service": "app.default.svc.cluster.local", code: undefined });
      // A name that stands for a service has a virtual address for the app, and the resolver's for ourselves.
      assert.match(await lab.done(host, "dig", "+short", "www.example.test"), /^24[1-8]\./);
      await until("the endpoints of a name", async () => {
        const { stdout } = await lab.curl(host, "http://127.0.0.1:15000/explain?to=www.example.test:80");
        return stdout.includes("192.0.2.10:80") && stdout.includes("[2001:db8::10]:80");
      });
      assert.deepEqual(
        asking.log.filter(({ code }) => code === "LOOP_DETECTED"),
        [],
      );
    });

    test("told by a mark, it gets its identity from an authority though the rules are there before it", async () => {
      const [authorityHost, host] = [await lab.host(), await lab.host()];
      const folder = join(lab.mesh.folder, "authority");
      mkdirSync(folder);
      const ca = await initAuthority(folder);
      const file = join(folder, "authority.yaml");
      const listen = `${authorityHost.address}:15912`;
      const off = { admin: "off", readiness: "off", metrics: "off" };
      writeFileSync(file, JSON.stringify({ folder: ca, listen, names: ["authority"], ...off }));
      const serve = commandLine("authority", ["serve", "--config", file]);
      await lab.start("authority", authorityHost, /"message":"ready"/, serve.command, ...serve.args);
      writeFileSync(join(folder, "token"), await createToken(ca, "client"));
      const identity = {
        authority: {
          address: listen,
          serverName: "authority",
          bundle: join(ca, "root.pem"),
          token: join(folder, "token"),
        },
      };
      const config = { identity, outbound: { transparent: ":15001" }, capture: { exempt: { mark: 0x539 } } };
      writeFileSync(join(lab.mesh.folder, "before.yaml"), JSON.stringify({ ...config, resources: { files: "mesh" } }));
      await lab.capture(host, "apply", "before", backend);
      const joined = await lab.uproxy("joined", host, config, { account: "client" });
      await joined.logged({ message: "ready", identity: "spiffe://cluster.local/ns/default/sa/client" });
    });

    test("rules of somebody's own may hand connections over by TPROXY", async () => {
      const host = await lab.host();
      const handed = await lab.uproxy(
        "handed",
        host,
        { outbound: { transparent: ":15001" } },
        { account: "client", user: PROXY, capability: "net_admin" },
      );
      const { code, stderr } = await lab.on(host, "sh", "-c", TPROXY_RULES);
      assert.equal(code, 0, stderr);
      for (const address of [serverHost.address, `[${serverHost.address6}]`, outsideHost.address]) {
        const answer = await lab.curl(host, `http://${address}:${PORTS.http}/handed`);
        assert.notEqual(answer.stdout, "", answer.stderr);
        await handed.access({ "dst.addr": `${address}:${PORTS.http}`, code: undefined });
      }
    });
  });
}

/** What is not uproxy's own is marked, led to loopback by its mark, and handed over there with its addresses as they are. */
const TPROXY_RULES = `
set -eu
PATH="$PATH:/usr/sbin:/sbin"
nft -f - <<'RULES'
table inet handover {
  chain marked { type route hook output priority mangle; meta skuid != ${PROXY} oifname "eth0" meta l4proto tcp meta mark set 1; }
  chain hand { type filter hook prerouting priority mangle; meta mark 1 meta l4proto tcp tproxy to :15001 accept; }
}
RULES
for version in -4 -6; do
  ip $version rule add fwmark 1 lookup 101
  ip $version route add local default dev lo table 101
done
`;
