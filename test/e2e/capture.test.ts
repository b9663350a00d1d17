// Transparent capture: programs that know nothing of a mesh, on a host whose rules turn their connections to a uproxy that runs as an
// ordinary user without any capability. Hosts are network namespaces; both backends, IPv4 and IPv6. It is one thing because all of
// it stands on one network.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { command } from "../support/env.ts";
import type { Echoed } from "../support/apps.ts";
import { asUser, startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { createNetwork, type Host, type Network } from "../support/netns.ts";
import { startPostgres } from "../support/postgres.ts";
import { run, startProgram, succeed, type Program, type Result } from "../support/process.ts";
import { commandLine } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

/** What uproxy runs as. */
const PROXY = 1337;
/** An app whose connections are not captured. */
const FREE = 2000;
const PORTS = { http: 8080, mail: 2525, echo: 7001, psql: 5432, iperf: 5201, ssh: 2222, free: 8081 };
const VIP = "10.96.0.10";
const COMMANDS = [
  "ip",
  "nft",
  "iptables",
  "curl",
  "nc",
  "setpriv",
  "psql",
  "initdb",
  "postgres",
  "iperf3",
  "ssh",
  "sshd",
];

const on = (host: Host, ...args: readonly string[]): Promise<Result> => {
  const [first = "", ...rest] = [...host.prefix, ...args];
  return run(first, rest);
};

for (const backend of ["nft", "iptables"]) {
  describe(`capture by ${backend}`, needs({ root: true, commands: [...COMMANDS, "ssh-keygen"] }), () => {
    let mesh: Mesh;
    let network: Network;
    let clientHost: Host;
    let serverHost: Host;
    let outsideHost: Host;
    let sparedHost: Host;
    let client: Proxy;
    let server: Proxy;

    before(async () => {
      mesh = await startMesh();
      network = await createNetwork();
      mesh.atEnd(() => network.remove());
      [clientHost, serverHost] = [await network.host(), await network.host()];
      [outsideHost, sparedHost] = [await network.host(), await network.host()];
      // A virtual address needs a route for the packet that is turned, though nobody has it.
      await succeed(command("ip"), ["-n", clientHost.name, "route", "add", "10.96.0.0/16", "dev", "eth0"]);
      const ports = Object.entries(PORTS).map(([name, port]) => ({ name: `tcp-${name}`, port }));
      mesh.write("mesh", [
        service("app", [...ports, { name: "http-service", port: 80, targetPort: PORTS.http }], { clusterIP: VIP }),
        workloadEntry("app", serverHost.address, { serviceAccount: "app" }),
        workloadEntry("app6", serverHost.address6, { serviceAccount: "app" }),
        workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
      ]);
      for (const address of [serverHost.address, serverHost.address6]) {
        await startApp("http", serverHost, address, PORTS.http);
        await startApp("smtp", serverHost, address, PORTS.mail);
      }
      await startApp("echo", serverHost, serverHost.address, PORTS.echo);
      for (const address of [outsideHost.address, outsideHost.address6]) {
        for (const port of [PORTS.http, PORTS.free]) await startApp("http", outsideHost, address, port);
      }
      for (const address of [sparedHost.address, sparedHost.address6]) {
        await startApp("http", sparedHost, address, PORTS.http);
      }
      server = await mesh.uproxy({
        name: "app",
        address: serverHost.address,
        prefix: serverHost.prefix,
        config: {
          ...DEFAULTS,
          workload: { name: "app" },
          inbound: { plaintext: ":15006" },
          capture: { inbound: { exclude: { ports: [PORTS.mail] } } },
        },
      });
      await capture(serverHost, "apply", "app");
      client = await mesh.uproxy({
        name: "client",
        address: clientHost.address,
        prefix: clientHost.prefix,
        user: PROXY,
        config: {
          ...DEFAULTS,
          outbound: { transparent: ":15001" },
          dns: "localhost:15053",
          capture: {
            outbound: {
              exclude: {
                ports: [PORTS.free],
                users: [FREE],
                cidrs: [`${sparedHost.address}/32`, `${sparedHost.address6}/128`],
              },
            },
          },
        },
      });
      await capture(clientHost, "apply", "client");
    });

    after(() => mesh.stop());

    async function start(name: string, host: Host, line: RegExp, ...args: readonly string[]): Promise<Program> {
      const [first = "", ...rest] = [...host.prefix, ...args];
      const program = startProgram({ name: `${name} on ${host.name}`, command: first, args: rest });
      mesh.atEnd(() => program.stop());
      await program.line(line);
      return program;
    }

    const startApp = (kind: string, host: Host, address: string, port: number): Promise<Program> => {
      const script = join(import.meta.dirname, "../support/app-process.ts");
      return start(kind, host, /^ready$/, process.execPath, script, kind, address, String(port));
    };

    async function capture(host: Host, action: string, config: string): Promise<void> {
      const file = join(mesh.folder, `${config}.yaml`);
      const line = commandLine("uproxy", ["capture", action, "--backend", backend, "--config", file]);
      const { code, stderr } = await on(host, line.command, ...line.args);
      assert.equal(code, 0, stderr);
    }

    const curl = (...args: readonly string[]): Promise<Result> =>
      on(clientHost, command("curl"), "--silent", "--show-error", "--max-time", "10", ...args);

    /** Connections that the client's uproxy has carried. */
    const carried = (): readonly string[] =>
      client.log.filter(({ target }) => target === "access").map((line) => String(line["dst.addr"]));

    test("uproxy has no capability", () => {
      const status = readFileSync(`/proc/${client.program.pid}/status`, "utf8");
      assert.match(status, new RegExp(`^Uid:\\t${PROXY}\\t${PROXY}`, "m"));
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
        assert.match(status, new RegExp(`^${set}:\\t0+$`, "m"));
      }
    });

    for (const family of [4, 6] as const) {
      const at = (host: Host): string => (family === 4 ? host.address : host.address6);
      const url = (host: Host, port: number): string =>
        `http://${family === 4 ? host.address : `[${host.address6}]`}:${port}`;

      test(`curl to a workload goes through a tunnel, IPv${family}`, async () => {
        const { stdout, stderr } = await curl(`${url(serverHost, PORTS.http)}/hello`);
        assert.notEqual(stdout, "", stderr);
        const echoed = JSON.parse(stdout) as Echoed;
        assert.equal(echoed.url, "/hello");
        assert.ok(echoed.caller.replace(/[[\]]/g, "").startsWith(at(serverHost)), `called by ${echoed.caller}`);
        const line = await client.access({ "dst.workload": family === 4 ? "app" : "app6" });
        assert.equal(line["dst.identity"], "spiffe://cluster.local/ns/default/sa/app");
        assert.equal(line["src.workload"], "client");
      });

      test(`a server that speaks first is heard at once, IPv${family}`, async () => {
        const script = 'exec 3<&0; { sleep 0.1; printf \'EHLO me\\r\\nQUIT\\r\\n\'; } | nc -N "$0" "$1"';
        const { stdout } = await on(clientHost, "sh", "-c", script, at(serverHost), String(PORTS.mail));
        assert.match(stdout, /^220 mail\.example ESMTP/);
        assert.match(stdout, /221 bye/);
      });

      test(`a destination outside the mesh is passed through, and not captured again, IPv${family}`, async () => {
        const { stdout, stderr } = await curl(url(outsideHost, PORTS.http));
        assert.notEqual(stdout, "", stderr);
        assert.ok((JSON.parse(stdout) as Echoed).caller.replace(/[[\]]/g, "").startsWith(at(clientHost)));
        const to = url(outsideHost, PORTS.http).slice("http://".length);
        await client.access({ "dst.addr": to });
        assert.deepEqual(carried().filter((addr) => addr === to).length, 1, "a loop would be seen many times");
      });

      test(`excluded ports, addresses and users are left alone, IPv${family}`, async () => {
        const port = await curl(url(outsideHost, PORTS.free));
        assert.equal(port.code, 0, port.stderr);
        const free = asUser(FREE);
        const user = await on(clientHost, ...free, command("curl"), "--silent", `${url(outsideHost, PORTS.http)}/free`);
        assert.equal(user.code, 0, user.stderr);
        const spared = await curl(url(sparedHost, PORTS.http));
        assert.equal(spared.code, 0, spared.stderr);
        const seen = carried().length;
        // The log comes in order: what is carried after them is told after them.
        await curl(`${url(serverHost, PORTS.http)}/after`);
        await client.program.watch("the next connection", () => carried().length > seen);
        assert.equal(carried().length, seen + 1);
        assert.ok(!carried().some((addr) => addr.endsWith(`:${PORTS.free}`) || addr.includes(at(sparedHost))));
      });

      test(`nothing behind a workload's port: the app sees a reset, IPv${family}`, async () => {
        assertReset(await curl(url(serverHost, 9)));
        await client.access({ "dst.addr": url(serverHost, 9).slice("http://".length), code: "PEER_UNAVAILABLE" });
      });

      test(`the listener itself carries nobody who was not captured, IPv${family}`, async () => {
        for (const address of [at(clientHost), family === 4 ? "127.0.0.1" : "::1"]) {
          assertReset(await curl(`http://${family === 4 ? address : `[${address}]`}:15001/`));
        }
        await client.logged({ message: "client refused", code: "SELF_CALL" });
      });
    }

    test("a name resolves through a resolver that nobody answers at, and leads to the service", async () => {
      for (const resolver of [outsideHost.address, outsideHost.address6]) {
        network.resolvConf(clientHost, `nameserver ${resolver}\n`);
        const { stdout, stderr } = await curl("http://app.default/named");
        assert.notEqual(stdout, "", stderr);
        assert.equal((JSON.parse(stdout) as Echoed).url, "/named");
      }
    });

    test("plaintext from outside the mesh is captured, the mesh's own ports and excluded ones are not", async () => {
      for (const address of [serverHost.address, `[${serverHost.address6}]`]) {
        const app = `${address}:${PORTS.http}`;
        const plain = await on(outsideHost, command("curl"), "-sS", `http://${app}/plain`);
        // The other family's address is that of another workload, so what capture brings from there is refused.
        const isOwn = address === serverHost.address;
        if (isOwn) assert.equal(plain.code, 0, plain.stderr);
        else assertReset(plain);
        await server.access({
          direction: "inbound",
          "dst.addr": app,
          "src.identity": undefined,
          code: isOwn ? undefined : "DESTINATION_NOT_MINE",
        });
        const readiness = await on(outsideHost, command("curl"), "-sS", `http://${address}:15021/healthz/ready`);
        assert.equal(readiness.code, 0, readiness.stderr);
        const host = address.replace(/[[\]]/g, "");
        const mail = await on(
          outsideHost,
          "sh",
          "-c",
          'printf "QUIT\\r\\n" | nc -N "$0" "$1"',
          host,
          String(PORTS.mail),
        );
        assert.match(mail.stdout, /221 bye/);
      }
      const plaintext = server.log.filter(
        (line) => line["target"] === "access" && line["direction"] === "inbound" && line["src.identity"] === undefined,
      );
      assert.deepEqual(
        plaintext.map((line) => line["dst.addr"]),
        [`${serverHost.address}:${PORTS.http}`, `[${serverHost.address6}]:${PORTS.http}`],
      );
    });

    test("a service is reached by its virtual address", async () => {
      const { stdout, stderr } = await curl(`http://${VIP}/service`);
      assert.notEqual(stdout, "", stderr);
      assert.equal((JSON.parse(stdout) as Echoed).url, "/service");
      await client.access({ "dst.service": "app.default.svc.cluster.local" });
    });

    test("where unknown destinations are refused, the app sees a reset", async () => {
      const host = await network.host();
      const strict = await mesh.uproxy({
        name: "strict",
        account: "client",
        address: host.address,
        prefix: host.prefix,
        user: PROXY,
        config: { ...DEFAULTS, outbound: { transparent: ":15001", unknown: "refuse" } },
      });
      await capture(host, "apply", "strict");
      for (const address of [outsideHost.address, `[${outsideHost.address6}]`]) {
        const url = `http://${address}:${PORTS.http}/`;
        assertReset(await on(host, command("curl"), "--silent", "--show-error", "--max-time", "10", url));
        await strict.access({ "dst.addr": `${address}:${PORTS.http}`, code: "EGRESS_REFUSED" });
      }
      await capture(host, "remove", "strict");
      const { code } = await on(host, command("curl"), "--silent", `http://${outsideHost.address}:${PORTS.http}/`);
      assert.equal(code, 0, "without the rules it is as if uproxy were not there");
    });

    test("rules that catch uproxy itself make it refuse the connection, not dial itself without end", async () => {
      const host = await network.host();
      const lost = await mesh.uproxy({
        name: "lost",
        account: "client",
        address: host.address,
        prefix: host.prefix,
        user: PROXY + 1,
        config: { ...DEFAULTS, outbound: { transparent: ":15001" }, capture: { exempt: { user: PROXY + 1 } } },
      });
      // The rules of another configuration, which exempt another user.
      await capture(host, "apply", "client");
      for (const address of [outsideHost.address, `[${outsideHost.address6}]`]) {
        const url = `http://${address}:${PORTS.http}/`;
        assertReset(await on(host, command("curl"), "--silent", "--show-error", "--max-time", "10", url));
      }
      await lost.logged({ code: "LOOP_DETECTED" });
      const ended = lost.log.filter(({ target }) => target === "access");
      assert.ok(ended.length <= 2, `${ended.length} connections of 2`);
      const { stdout } = await on(host, command("curl"), "--silent", `http://${serverHost.address}:${PORTS.http}/mesh`);
      assert.equal((JSON.parse(stdout) as Echoed).url, "/mesh", "tunnels are never captured");
    });

    test("told by a mark, uproxy needs one capability and any user", async () => {
      const host = await network.host();
      const marked = await mesh.uproxy({
        name: "marked",
        account: "client",
        address: host.address,
        prefix: host.prefix,
        user: FREE,
        capability: "net_admin",
        config: { ...DEFAULTS, outbound: { transparent: ":15001" }, capture: { exempt: { mark: 0x539 } } },
      });
      await capture(host, "apply", "marked");
      for (const address of [serverHost.address, `[${serverHost.address6}]`, outsideHost.address]) {
        const { stdout, stderr } = await on(host, command("curl"), "-sS", `http://${address}:${PORTS.http}/marked`);
        assert.notEqual(stdout, "", stderr);
        await marked.access({ "dst.addr": `${address}:${PORTS.http}`, code: undefined });
      }
      const line = commandLine("uproxy", ["run", "--config", join(mesh.folder, "marked.yaml")]);
      const unprivileged = await on(outsideHost, ...asUser(FREE), line.command, ...line.args);
      assert.equal(unprivileged.code, 1);
      assert.match(unprivileged.stderr, /outbound\.transparent: SO_MARK needs CAP_NET_ADMIN: EPERM/);
    });

    test("rules of somebody's own may hand connections over by TPROXY", async () => {
      const host = await network.host();
      const handed = await mesh.uproxy({
        name: "handed",
        account: "client",
        address: host.address,
        prefix: host.prefix,
        user: PROXY,
        capability: "net_admin",
        config: { ...DEFAULTS, outbound: { transparent: ":15001" } },
      });
      const { code, stderr } = await on(host, "sh", "-c", TPROXY_RULES);
      assert.equal(code, 0, stderr);
      for (const address of [serverHost.address, `[${serverHost.address6}]`, outsideHost.address]) {
        const answer = await on(host, command("curl"), "-sS", `http://${address}:${PORTS.http}/handed`);
        assert.notEqual(answer.stdout, "", answer.stderr);
        await handed.access({ "dst.addr": `${address}:${PORTS.http}`, code: undefined });
      }
    });

    test("psql", async () => {
      await mesh.with(startPostgres(join(mesh.folder, "postgres"), serverHost.address, PORTS.psql, serverHost.prefix));
      const flags = [
        "--no-psqlrc",
        "--host",
        serverHost.address,
        "--username",
        "postgres",
        "--tuples-only",
        "--no-align",
      ];
      const { stdout, stderr } = await on(clientHost, command("psql"), ...flags, "--command", "select 6 * 7");
      assert.equal(stdout, "42", stderr);
      await client.access({ "dst.addr": `${serverHost.address}:${PORTS.psql}` });
    });

    test("iperf3, both directions", async () => {
      const port = String(PORTS.iperf);
      await start(
        "iperf3",
        serverHost,
        /listening/i,
        command("iperf3"),
        "-s",
        "--forceflush",
        "-B",
        serverHost.address,
        "-p",
        port,
      );
      for (const direction of [[], ["--reverse"]]) {
        const args = ["-c", serverHost.address, "-p", port, "-t", "1", "-J", ...direction];
        // The server takes one test at a time, and says that it is busy until the one before is wholly over.
        const bytes = await until(`a test ${direction.join("")}`, async () => {
          const { stdout } = await on(clientHost, command("iperf3"), ...args);
          const report = JSON.parse(stdout) as { end: { sum_received?: { bytes: number } }; error?: string };
          if (report.error !== undefined) throw new Error(report.error);
          return report.end.sum_received?.bytes;
        });
        assert.ok(bytes > 1_000_000, `${bytes} bytes`);
      }
    });

    test("ssh", async () => {
      const folder = join(mesh.folder, "ssh");
      mkdirSync(folder);
      for (const name of ["host", "user"]) {
        await succeed(command("ssh-keygen"), ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, name)]);
      }
      // The place that the server wants for its unprivileged part.
      mkdirSync("/run/sshd", { recursive: true });
      const settings = {
        Port: PORTS.ssh,
        ListenAddress: serverHost.address,
        HostKey: join(folder, "host"),
        AuthorizedKeysFile: join(folder, "user.pub"),
        StrictModes: "no",
        UsePAM: "no",
        PidFile: "none",
        PermitRootLogin: "yes",
      };
      const file = join(folder, "sshd_config");
      writeFileSync(
        file,
        Object.entries(settings)
          .map(([key, value]) => `${key} ${value}\n`)
          .join(""),
      );
      await start("sshd", serverHost, /Server listening/, command("sshd"), "-D", "-e", "-f", file);
      const options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "BatchMode=yes"].flatMap((o) => [
        "-o",
        o,
      ]);
      const target = ["-p", String(PORTS.ssh), "-i", join(folder, "user"), `root@${serverHost.address}`];
      const { stdout, stderr } = await on(
        clientHost,
        command("ssh"),
        "-F",
        "none",
        ...options,
        ...target,
        "echo over $SSH_CONNECTION",
      );
      assert.match(stdout, /^over /, stderr);
      await client.access({ "dst.addr": `${serverHost.address}:${PORTS.ssh}`, code: undefined });
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

/** A reset, which curl calls by one of two names, by whether it comes before it has sent its request. */
function assertReset({ code, stderr }: Result): void {
  assert.ok(code === 56 || code === 7, `curl ended with ${code}: ${stderr}`);
}

/** The addresses that a uproxy has when nothing is said: all interfaces, and loopback for admin and proxy. */
const DEFAULTS: Readonly<Record<string, unknown>> = Object.fromEntries(
  ["workload", "inbound", "outbound", "admin", "readiness", "metrics"].map((key) => [key, undefined]),
);
