// Transparent capture: programs that know nothing of a mesh, on a host whose rules turn their connections to a uproxy that runs as an
// ordinary user without any capability. Hosts are network namespaces; both backends, IPv4 and IPv6.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { assertReset, echoed, startLab, type Lab } from "../support/lab.ts";
import { asUser, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import type { Result } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { command } from "../support/env.ts";

/** What uproxy runs as. */
const PROXY = 1337;
/** An app whose connections are not captured. */
const FREE = 2000;
const PORTS = { http: 8080, mail: 2525, free: 8081 };
const VIP = "10.96.0.10";

for (const backend of ["nft", "iptables"] as const) {
  const commands = ["ip", "nft", "iptables", "curl", "nc", "setpriv"];
  describe(`capture by ${backend}`, needs({ root: true, commands }), () => {
    let lab: Lab;
    let clientHost: Host;
    let serverHost: Host;
    let outsideHost: Host;
    let sparedHost: Host;
    let client: Proxy;
    let server: Proxy;

    before(async () => {
      lab = await startLab();
      [clientHost, serverHost] = [await lab.host(), await lab.host()];
      [outsideHost, sparedHost] = [await lab.host(), await lab.host()];
      // A virtual address needs a route for the packet that is turned, though nobody has it.
      await lab.done(clientHost, "ip", "route", "add", "10.96.0.0/16", "dev", "eth0");
      const ports = Object.entries(PORTS).map(([name, port]) => ({ name: `tcp-${name}`, port }));
      lab.mesh.write("mesh", [
        service("app", [...ports, { name: "http-service", port: 80, targetPort: PORTS.http }], { clusterIP: VIP }),
        workloadEntry("app", serverHost.address, { serviceAccount: "app" }),
        workloadEntry("app6", serverHost.address6, { serviceAccount: "app" }),
        workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
      ]);
      for (const address of [serverHost.address, serverHost.address6]) {
        await lab.app("http", serverHost, PORTS.http, address);
        await lab.app("smtp", serverHost, PORTS.mail, address);
      }
      for (const address of [outsideHost.address, outsideHost.address6]) {
        for (const port of [PORTS.http, PORTS.free]) await lab.app("http", outsideHost, port, address);
      }
      for (const address of [sparedHost.address, sparedHost.address6]) {
        await lab.app("http", sparedHost, PORTS.http, address);
      }
      server = await lab.uproxy("app", serverHost, {
        workload: { name: "app" },
        inbound: { plaintext: ":15006" },
        capture: { inbound: { exclude: { ports: [PORTS.mail] } } },
      });
      await lab.capture(serverHost, "apply", "app", backend);
      const exclude = {
        ports: [PORTS.free],
        users: [FREE],
        cidrs: [`${sparedHost.address}/32`, `${sparedHost.address6}/128`],
      };
      client = await lab.uproxy(
        "client",
        clientHost,
        { outbound: { transparent: ":15001" }, dns: "localhost:15053", capture: { outbound: { exclude } } },
        { user: PROXY },
      );
      await lab.capture(clientHost, "apply", "client", backend);
    });

    after(() => lab.stop());

    const curl = (...args: readonly string[]): Promise<Result> => lab.curl(clientHost, ...args);

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
        const told = echoed(await curl(`${url(serverHost, PORTS.http)}/hello`));
        assert.equal(told.url, "/hello");
        assert.ok(told.caller.replace(/[[\]]/g, "").startsWith(at(serverHost)), `called by ${told.caller}`);
        const line = await client.access({ "dst.workload": family === 4 ? "app" : "app6" });
        assert.equal(line["dst.identity"], "spiffe://cluster.local/ns/default/sa/app");
        assert.equal(line["src.workload"], "client");
      });

      test(`a server that speaks first is heard at once, IPv${family}`, async () => {
        const script = 'exec 3<&0; { sleep 0.1; printf \'EHLO me\\r\\nQUIT\\r\\n\'; } | nc -N "$0" "$1"';
        const { stdout } = await lab.on(clientHost, "sh", "-c", script, at(serverHost), String(PORTS.mail));
        assert.match(stdout, /^220 mail\.example ESMTP/);
        assert.match(stdout, /221 bye/);
      });

      test(`a destination outside the mesh is passed through, and not captured again, IPv${family}`, async () => {
        assert.ok(
          echoed(await curl(url(outsideHost, PORTS.http)))
            .caller.replace(/[[\]]/g, "")
            .startsWith(at(clientHost)),
        );
        const to = url(outsideHost, PORTS.http).slice("http://".length);
        await client.access({ "dst.addr": to });
        assert.deepEqual(carried().filter((addr) => addr === to).length, 1, "a loop would be seen many times");
      });

      test(`excluded ports, addresses and users are left alone, IPv${family}`, async () => {
        const port = await curl(url(outsideHost, PORTS.free));
        assert.equal(port.code, 0, port.stderr);
        const free = asUser(FREE);
        const user = await lab.on(
          clientHost,
          ...free,
          command("curl"),
          "--silent",
          `${url(outsideHost, PORTS.http)}/free`,
        );
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
        lab.network.resolvConf(clientHost, `nameserver ${resolver}\n`);
        assert.equal(echoed(await curl("http://app.default/named")).url, "/named");
      }
    });

    test("plaintext from outside the mesh is captured, the mesh's own ports and excluded ones are not", async () => {
      for (const address of [serverHost.address, `[${serverHost.address6}]`]) {
        const app = `${address}:${PORTS.http}`;
        const plain = await lab.curl(outsideHost, `http://${app}/plain`);
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
        const readiness = await lab.curl(outsideHost, `http://${address}:15021/healthz/ready`);
        assert.equal(readiness.code, 0, readiness.stderr);
        const host = address.replace(/[[\]]/g, "");
        const mail = await lab.on(
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
      assert.equal(echoed(await curl(`http://${VIP}/service`)).url, "/service");
      await client.access({ "dst.service": "app.default.svc.cluster.local" });
    });
  });
}
