// Protocols of all kinds through transparent capture: real clients and servers that know nothing of a mesh.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startLab, type Lab } from "../support/lab.ts";
import type { Proxy } from "../support/mesh.ts";
import { command } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import { startPostgres } from "../support/postgres.ts";
import { succeed } from "../support/process.ts";
import { workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

/** What uproxy runs as. */
const PROXY = 1337;
const PORTS = { psql: 5432, iperf: 5201, ssh: 2222 };
const COMMANDS = [
  "ip",
  "nft",
  "iptables",
  "setpriv",
  "psql",
  "initdb",
  "postgres",
  "iperf3",
  "ssh",
  "sshd",
  "ssh-keygen",
];

for (const backend of ["nft", "iptables"] as const) {
  describe(`protocols captured by ${backend}`, needs({ root: true, commands: COMMANDS }), () => {
    let lab: Lab;
    let clientHost: Host;
    let serverHost: Host;
    let client: Proxy;

    before(async () => {
      lab = await startLab();
      [clientHost, serverHost] = [await lab.host(), await lab.host()];
      lab.mesh.write("mesh", [
        workloadEntry("app", serverHost.address, { serviceAccount: "app" }),
        workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
      ]);
      await lab.uproxy("app", serverHost, { inbound: { plaintext: ":15006" } });
      await lab.capture(serverHost, "apply", "app", backend);
      client = await lab.uproxy("client", clientHost, { outbound: { transparent: ":15001" } }, { user: PROXY });
      await lab.capture(clientHost, "apply", "client", backend);
    });

    after(() => lab.stop());

    test("psql", async () => {
      await lab.mesh.with(
        startPostgres(join(lab.mesh.folder, "postgres"), serverHost.address, PORTS.psql, serverHost.prefix),
      );
      const flags = [
        "--no-psqlrc",
        "--host",
        serverHost.address,
        "--username",
        "postgres",
        "--tuples-only",
        "--no-align",
      ];
      const { stdout, stderr } = await lab.on(clientHost, "psql", ...flags, "--command", "select 6 * 7");
      assert.equal(stdout, "42", stderr);
      await client.access({ "dst.addr": `${serverHost.address}:${PORTS.psql}` });
    });

    test("iperf3, both directions", async () => {
      const port = String(PORTS.iperf);
      await lab.start(
        "iperf3",
        serverHost,
        /listening/i,
        "iperf3",
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
          const { stdout } = await lab.on(clientHost, "iperf3", ...args);
          const report = JSON.parse(stdout) as { end: { sum_received?: { bytes: number } }; error?: string };
          if (report.error !== undefined) throw new Error(report.error);
          return report.end.sum_received?.bytes;
        });
        assert.ok(bytes > 1_000_000, `${bytes} bytes`);
      }
    });

    test("ssh", async () => {
      const folder = join(lab.mesh.folder, "ssh");
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
      await lab.start("sshd", serverHost, /Server listening/, "sshd", "-D", "-e", "-f", file);
      const options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "BatchMode=yes"].flatMap((o) => [
        "-o",
        o,
      ]);
      const target = ["-p", String(PORTS.ssh), "-i", join(folder, "user"), `root@${serverHost.address}`];
      const { stdout, stderr } = await lab.on(
        clientHost,
        "ssh",
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
