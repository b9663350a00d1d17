// Names that resolve: plain `curl http://reviews:9080` on a host whose resolv.conf leads to its uproxy, with and without capture,
// and the common tools (dig, delv, nslookup, nsupdate) asking through it a real server that knows another zone.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { command } from "../support/env.ts";
import { startLab, type Lab } from "../support/lab.ts";
import type { Proxy } from "../support/mesh.ts";
import { startNamed } from "../support/named.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import type { Program, Result } from "../support/process.ts";
import { service, workloadEntry, type Resource } from "../support/resources.ts";
import { until } from "../support/until.ts";

const APP = 8080;
const PORT = 9080;
/** The user whose traffic is captured; the uproxy runs as another. */
const APP_USER = "1000";
const TOOLS = ["ip", "nft", "curl", "setpriv", "dig", "delv", "nslookup", "nsupdate", "named"];

/** An answer of dig, by its parts. */
interface Dug {
  readonly status: string;
  readonly flags: readonly string[];
  readonly answers: readonly string[];
  readonly text: string;
}

/** A Service without a cluster IP of its own. */
function headless(name: string): Resource {
  return service(name, [{ name: "http", port: APP }], { clusterIP: "None" });
}

describe("DNS", needs({ root: true, commands: TOOLS }), () => {
  let lab: Lab;
  let serverHost: Host;
  let resolverHost: Host;
  let clientHost: Host;
  let capturedHost: Host;
  let client: Proxy;
  let captured: Proxy;
  let named: Program;

  before(async () => {
    lab = await startLab();
    const { mesh, network } = lab;
    [serverHost, resolverHost] = [await lab.host(), await lab.host()];
    [clientHost, capturedHost] = [await lab.host(), await lab.host()];
    mesh.write("mesh", [
      service("reviews", [{ name: "http", port: PORT, targetPort: APP }]),
      service("ratings", [{ name: "http", port: PORT, targetPort: APP }], { app: "reviews" }),
      service("fixed", [{ name: "http", port: PORT, targetPort: APP }], { app: "reviews", clusterIP: "10.96.0.77" }),
      headless("db"),
      workloadEntry("reviews", serverHost.address, { serviceAccount: "reviews" }),
      workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
      workloadEntry("captured", capturedHost.address, { serviceAccount: "captured" }),
      ...Array.from({ length: 60 }, (_, index) =>
        workloadEntry(`db-${index}`, `10.200.0.${index + 1}`, { serviceAccount: "db", app: "db" }),
      ),
    ]);
    await lab.app("http", serverHost, APP);
    named = await startNamed(join(mesh.folder, "named"), resolverHost.address, resolverHost.prefix);
    mesh.atEnd(() => named.stop());

    await lab.uproxy("reviews", serverHost);
    network.resolvConf(
      clientHost,
      "nameserver 127.0.0.1\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
    );
    client = await startClient();
    network.resolvConf(capturedHost, `nameserver ${resolverHost.address}\n`);
    captured = await lab.uproxy("captured", capturedHost, {
      outbound: { transparent: ":15001" },
      capture: { exempt: { user: 0 } },
      dns: "localhost:15053",
    });
  });

  after(() => lab.stop());

  function startClient(takeover?: Proxy): Promise<Proxy> {
    const config = {
      outbound: {
        listeners: [{ listen: `127.0.0.1:${PORT}`, to: `reviews.default:${PORT}` }],
        proxy: "127.0.0.1:15080",
      },
      dns: { listen: "localhost:53", upstream: [resolverHost.address] },
    };
    return lab.uproxy("client", clientHost, config, takeover === undefined ? {} : { takeover });
  }

  const on = (host: Host, name: string, ...args: readonly string[]): Promise<Result> => lab.on(host, name, ...args);
  const curl = (host: Host, ...args: readonly string[]): Promise<Result> => lab.curl(host, ...args);
  const asApp = (host: Host, name: string, ...args: readonly string[]): Promise<Result> =>
    on(host, "setpriv", `--reuid=${APP_USER}`, `--regid=${APP_USER}`, "--clear-groups", command(name), ...args);

  async function dig(host: Host, ...args: readonly string[]): Promise<Dug> {
    const { stdout } = await lab.on(host, "dig", "+tries=1", "+time=6", "+noall", "+comments", "+answer", ...args);
    return {
      status: /status: (\w+)/.exec(stdout)?.[1] ?? "",
      flags: /flags: ([a-z ]*);/.exec(stdout)?.[1]?.split(" ") ?? [],
      answers: stdout
        .split("\n")
        .filter((line) => /^[^;\s]/.test(line))
        .map((line) => line.split(/\s+/).slice(3).join(" ")),
      text: stdout,
    };
  }

  function nsupdate(host: Host, lines: readonly string[], ...args: readonly string[]): Promise<Result> {
    const script = ["server 127.0.0.1", "zone example.test", ...lines, "send", ""].join("\n");
    return lab.on(host, "sh", "-c", `printf '%s' "$0" | "$@"`, script, command("nsupdate"), ...args);
  }

  test("plain curl reaches a service by any form of its name", async () => {
    for (const name of ["reviews", "REVIEWS.default", "reviews.default.svc", "reviews.default.svc.cluster.local."]) {
      const { stdout, stderr } = await curl(clientHost, `http://${name}:${PORT}/hello`);
      assert.match(stdout, /"url":"\/hello"/, `${name}: ${stderr}`);
    }
    await client.access({ "dst.service": "reviews.default.svc.cluster.local", direction: "outbound" });
  });

  test("a client that resolves by itself and then asks the proxy port reaches the service by its virtual address", async () => {
    const { stdout, stderr } = await curl(clientHost, "--socks5", "127.0.0.1:15080", `http://ratings:${PORT}/`);
    assert.match(stdout, /"app":/, stderr);
    const { answers } = await dig(clientHost, "ratings.default.svc.cluster.local");
    const [, virtual = ""] = (answers[0] ?? "").split(" ");
    assert.match(virtual, /^24[1-8]\./);
    const explained = await on(clientHost, "curl", "--silent", `http://127.0.0.1:15000/explain?to=${virtual}:${PORT}`);
    assert.match(explained.stdout, /is a virtual address of service default\/ratings/);
  });

  test("with capture plain curl works with the resolv.conf and the ports that were there before", async () => {
    // Somewhere to send packets to before a rule turns them.
    for (const via of [resolverHost.address, resolverHost.address6]) {
      await lab.done(capturedHost, "ip", "route", "add", "default", "via", via);
    }
    await lab.capture(capturedHost, "apply", "captured");
    for (const name of ["ratings.default", "reviews.default.svc.cluster.local"]) {
      const { stdout, stderr } = await asApp(
        capturedHost,
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "10",
        `http://${name}:${PORT}/captured`,
      );
      assert.match(stdout, /"url":"\/captured"/, `${name}: ${stderr}`);
    }
    await captured.access({ "dst.service": "ratings.default.svc.cluster.local", direction: "outbound" });
    const six = await asApp(
      capturedHost,
      "curl",
      "-6",
      "--silent",
      "--show-error",
      `http://ratings.default:${PORT}/six`,
    );
    assert.match(six.stdout, /"url":"\/six"/, six.stderr);
    const asked6 = await asApp(capturedHost, "dig", "+short", `@${resolverHost.address6}`, "fixed.default");
    assert.equal(asked6.stdout, "10.96.0.77");
    const other = await asApp(capturedHost, "dig", "+short", "www.example.test");
    assert.equal(other.stdout, "192.0.2.10");
    const byTcp = await asApp(capturedHost, "dig", "+short", "+tcp", "ratings.default");
    assert.match(byTcp.stdout, /^24[1-8]\./);
  });

  test("answers as a name server should, to IPv4 and IPv6, by UDP and TCP", async () => {
    for (const at of ["@127.0.0.1", "@::1"]) {
      for (const transport of ["+notcp", "+tcp"]) {
        const found = await dig(clientHost, at, transport, "fixed.default.svc.cluster.local");
        assert.deepEqual([found.status, found.answers], ["NOERROR", ["A 10.96.0.77"]], found.text);
        assert.ok(found.flags.includes("aa") && !found.flags.includes("tc"), found.text);
        const none = await dig(clientHost, at, transport, "fixed.default.svc.cluster.local", "AAAA");
        assert.deepEqual([none.status, none.answers], ["NOERROR", []], none.text);
      }
    }
    const looked = await on(clientHost, "nslookup", "fixed");
    assert.match(looked.stdout, /Name:\s+fixed\.default\.svc\.cluster\.local\s+Address: 10\.96\.0\.77/);
    const delved = await on(clientHost, "delv", "@127.0.0.1", "-i", "fixed.default.svc.cluster.local");
    assert.match(delved.stdout, /fixed\.default\.svc\.cluster\.local\.\s+\d+\s+IN\s+A\s+10\.96\.0\.77/);
    const version = await dig(clientHost, "@127.0.0.1", "+edns=1", "+noednsnegotiation", "fixed.default");
    assert.equal(version.status, "BADVERS");
  });

  test("what does not fit a datagram says so, and comes whole by TCP", async () => {
    const cut = await dig(clientHost, "@127.0.0.1", "+noedns", "+ignore", "db.default");
    assert.ok(cut.flags.includes("tc") && cut.answers.length > 20 && cut.answers.length < 60, cut.text);
    const whole = await dig(clientHost, "@127.0.0.1", "+noedns", "db.default");
    assert.equal(new Set(whole.answers).size, 60);
    const again = await dig(clientHost, "@127.0.0.1", "+tcp", "db.default");
    assert.notDeepEqual(again.answers, whole.answers, "shuffled");
    const one = await dig(clientHost, "@127.0.0.1", "db-7.db.default.svc.cluster.local");
    assert.deepEqual(one.answers, ["A 10.200.0.8"]);
  });

  test("other names, types and operations pass: SRV, unknown types, large answers, transfers", async () => {
    const rows: [string[], string[]][] = [
      [["www.example.test", "AAAA"], ["AAAA 2001:db8::10"]],
      [["_http._tcp.example.test", "SRV"], ["SRV 0 5 8080 www.example.test."]],
      [["odd.example.test", "TYPE65280"], ["TYPE65280 \\# 4 0A0B0C0D"]],
    ];
    for (const [question, answers] of rows) {
      for (const transport of ["+notcp", "+tcp"]) {
        const found = await dig(clientHost, "@127.0.0.1", transport, ...question);
        assert.deepEqual([found.status, found.answers], ["NOERROR", answers], found.text);
      }
    }
    assert.equal((await dig(clientHost, "@127.0.0.1", "nobody.example.test")).status, "NXDOMAIN");
    const large = await dig(clientHost, "@127.0.0.1", "large.example.test", "TXT");
    assert.ok((large.answers[0] ?? "").length > 2_500, "dig asks again by TCP");
    const transfer = await on(clientHost, "dig", "@127.0.0.1", "example.test", "AXFR");
    assert.match(transfer.stdout, /large\.example\.test/);
    assert.match(transfer.stdout, /XFR size: \d+ records/);
  });

  test("an update passes (RFC 2136), by UDP and by TCP", async () => {
    for (const [name, args] of [
      ["udp", []],
      ["tcp", ["-v"]],
    ] as const) {
      const { code, stdout, stderr } = await nsupdate(
        clientHost,
        [`update add ${name}.example.test 60 A 192.0.2.99`],
        ...args,
      );
      assert.equal(code, 0, `${stdout}${stderr}`);
      assert.deepEqual((await dig(clientHost, "@127.0.0.1", `${name}.example.test`)).answers, ["A 192.0.2.99"]);
    }
  });

  test("a process that takes over has the port before the other one leaves it", async () => {
    const over = new AbortController();
    const asking = (async () => {
      let count = 0;
      while (!over.signal.aborted) {
        for (const name of ["fixed.default", "www.example.test"]) {
          const { status, text } = await dig(clientHost, "@127.0.0.1", "+tries=2", "+time=1", name);
          assert.equal(status, "NOERROR", text);
          count += 1;
        }
      }
      return count;
    })();
    client = await startClient(client);
    over.abort();
    assert.ok((await asking) > 4);
    assert.match((await curl(clientHost, `http://reviews:${PORT}/`)).stdout, /"app":/);
  });

  test("the resolver goes: the mesh stays, what was known serves, the rest says why; it comes back", async () => {
    assert.deepEqual((await dig(clientHost, "@127.0.0.1", "+nocookie", "short.example.test")).answers, [
      "A 192.0.2.11",
    ]);
    await named.stop();
    // Kept for the second that its record lives, and then for want of a better answer, for 30 s each time.
    await until("an answer whose time is over", async () => {
      const { text } = await dig(clientHost, "@127.0.0.1", "+nocookie", "short.example.test");
      return /^short\.example\.test\.\s+30\s+IN\s+A\s+192\.0\.2\.11$/m.test(text);
    });
    const failed = await dig(clientHost, "@127.0.0.1", "unasked.example.test");
    assert.equal(failed.status, "SERVFAIL");
    assert.match(failed.text, /EDE: 22 .*ECONNREFUSED/);
    assert.match((await curl(clientHost, `http://reviews:${PORT}/`)).stdout, /"app":/);
    const metrics = await curl(clientHost, `http://${clientHost.address}:15020/metrics`);
    for (const name of ["requests_total", "upstream_requests_total", "upstream_failures_total"]) {
      assert.match(
        metrics.stdout,
        new RegExp(
          `^istio_dns_${name}\\{request_query_type="a",request_protocol="udp",source_canonical_service="client",source_canonical_revision="latest"\\} \\d+$`,
          "m",
        ),
      );
    }
    assert.match(metrics.stdout, /^istio_dns_upstream_request_duration_seconds_bucket\{.*le="0\.0005"\} \d+$/m);
    named = await startNamed(join(lab.mesh.folder, "named-again"), resolverHost.address, resolverHost.prefix);
    lab.mesh.atEnd(() => named.stop());
    assert.deepEqual((await dig(clientHost, "@127.0.0.1", "www.example.test")).status, "NOERROR");
  });

  test("a rule that leads the proxy's own questions back to it is found out at once", async () => {
    await on(clientHost, "nft", "add table ip loop");
    await on(clientHost, "nft", "add chain ip loop output { type nat hook output priority -100; }");
    await on(
      clientHost,
      "nft",
      `add rule ip loop output ip daddr ${resolverHost.address} meta l4proto { tcp, udp } th dport 53 redirect to :53`,
    );
    for (const transport of ["+notcp", "+tcp"]) {
      const looped = await dig(clientHost, "@127.0.0.1", transport, "loop.example.test");
      assert.match(looped.status, /REFUSED|SERVFAIL/, looped.text);
    }
    await client.logged({ code: "LOOP_DETECTED" });
    await on(clientHost, "nft", "delete table ip loop");
    assert.equal((await dig(clientHost, "@127.0.0.1", "loop.example.test")).status, "NXDOMAIN");
  });
});
