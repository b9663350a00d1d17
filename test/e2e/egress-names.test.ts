// Names of the outside through an egress waypoint, with a real name server: names that a ServiceEntry lists, names below its wildcard,
// and a route that leads to one. Hosts are network namespaces; the outside has both families.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { echoed, startLab, type Lab } from "../support/lab.ts";
import type { Proxy } from "../support/mesh.ts";
import { startNamed } from "../support/named.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import type { Result } from "../support/process.ts";
import {
  authorizationPolicy,
  httpRoute,
  service,
  serviceEntry,
  waypoint,
  workloadEntry,
} from "../support/resources.ts";

const HTTP = 8080;
/** What is spoken there is declared as plain TCP. */
const TCP = 8081;
const BEHIND = { labels: { "istio.io/use-waypoint": "egress" } };
const PORTS = [
  { number: HTTP, name: "http", protocol: "HTTP" },
  { number: TCP, name: "tcp-any", protocol: "TCP" },
];

describe("names of the outside", needs({ root: true, commands: ["ip", "curl", "named"] }), () => {
  let lab: Lab;
  let clientHost: Host;
  let outside: Host;
  let egress: Proxy;
  let client: Proxy;

  before(async () => {
    lab = await startLab();
    [clientHost, outside] = [await lab.host(), await lab.host()];
    const [egressHost, resolver] = [await lab.host(), await lab.host()];
    for (const address of [outside.address, outside.address6]) {
      for (const port of [HTTP, TCP]) await lab.app("http", outside, port, address);
    }
    const named = await startNamed(join(lab.mesh.folder, "named"), resolver.address, resolver.prefix, [
      `api IN A ${outside.address}`,
      `six IN AAAA ${outside.address6}`,
      `*.wild IN A ${outside.address}`,
      `*.wild6 IN AAAA ${outside.address6}`,
      `mesh.wild IN A ${clientHost.address}`,
      "own.wild IN A 127.0.0.1",
      "cloud.wild IN A 169.254.169.254",
    ]);
    lab.mesh.atEnd(() => named.stop());
    for (const host of [clientHost, egressHost]) lab.network.resolvConf(host, `nameserver ${resolver.address}\n`);
    lab.mesh.write("mesh", [
      workloadEntry("client", clientHost.address, { serviceAccount: "client" }),
      ...waypoint("egress", egressHost.address, { serviceAccount: "egress" }),
      serviceEntry("api", "api.example.test", { ports: PORTS, resolution: "DNS" }, BEHIND),
      serviceEntry("six", "six.example.test", { ports: PORTS, resolution: "DNS" }, BEHIND),
      serviceEntry("below", "*.wild.example.test", { ports: PORTS, resolution: "NONE" }, BEHIND),
      serviceEntry("below6", "*.wild6.example.test", { ports: PORTS, resolution: "NONE" }, BEHIND),
      serviceEntry("gone", "gone.example.test", { ports: PORTS, resolution: "NONE" }, BEHIND),
      service("rates", [{ name: "http", port: 80 }], BEHIND),
      httpRoute("rates", "rates", [
        {
          matches: [{ path: { type: "PathPrefix", value: "/listed" } }],
          backendRefs: [{ group: "networking.istio.io", kind: "Hostname", name: "api.example.test", port: HTTP }],
        },
        {
          matches: [{ path: { type: "PathPrefix", value: "/below" } }],
          backendRefs: [{ group: "networking.istio.io", kind: "Hostname", name: "r.wild.example.test", port: HTTP }],
        },
      ]),
      authorizationPolicy("reads", "ALLOW", { entry: "below" }, [
        { to: [{ operation: { methods: ["GET"] } }] },
        { to: [{ operation: { ports: [`${TCP}`] } }] },
      ]),
    ]);
    egress = await lab.waypoint("egress", egressHost, "egress");
    client = await lab.uproxy("client", clientHost, { outbound: { proxy: "127.0.0.1:15080", unknown: "refuse" } });
  });

  after(() => lab.stop());

  /** By CONNECT to the proxy port, which hands the name on as it is. */
  const ask = (url: string, ...args: readonly string[]): Promise<Result> =>
    lab.curl(clientHost, "--proxytunnel", "--proxy", "http://127.0.0.1:15080", ...args, url);

  /** Status and our code of a request that is refused. */
  async function refusal(url: string, ...args: readonly string[]): Promise<string> {
    const { stdout } = await ask(url, "--include", "--suppress-connect-headers", ...args);
    return [/^HTTP\/1\.1 (\d+)/.exec(stdout)?.[1], /culvert-code: (\S+)/.exec(stdout)?.[1]].join(" ");
  }

  for (const [what, host, name, app] of [
    ["a name that an entry lists", "api.example.test", "api.example.test", () => outside.address],
    ["one that has IPv6 alone", "six.example.test", "six.example.test", () => outside.address6],
    ["a name below a wildcard", "a.wild.example.test", "*.wild.example.test", () => outside.address],
    ["one two labels below", "a.b.wild.example.test", "*.wild.example.test", () => outside.address],
    ["one below that has IPv6 alone", "a.wild6.example.test", "*.wild6.example.test", () => outside.address6],
  ] as const) {
    test(`${what} is resolved at the waypoint, and reached by HTTP and by TCP`, async () => {
      const { app: reached, url } = echoed(await ask(`http://${host}:${HTTP}/x`));
      assert.deepEqual([reached, url], [app(), "/x"]);
      const line = await egress.access({ authority: `${host}:${HTTP}`, response_code: 200 });
      assert.equal(line["upstream_cluster"], `default/${name}:${HTTP}`);
      assert.equal(echoed(await ask(`http://${host}:${TCP}/tcp`)).app, app());
      await egress.access({ "dst.service": name, code: undefined });
      await client.access({ "dst.addr": `${host}:${TCP}`, "dst.service": name, code: undefined });
    });
  }

  test("policies decide by request below a wildcard, too", async () => {
    assert.equal(await refusal(`http://a.wild.example.test:${HTTP}/x`, "--data", "x"), "403 DENIED_BY_POLICY");
  });

  test("a name that leads into the mesh, to the waypoint's own host or to the cloud's credentials is refused", async () => {
    for (const name of ["mesh", "own", "cloud"]) {
      assert.equal(await refusal(`http://${name}.wild.example.test:${HTTP}/`), "403 EGRESS_REFUSED", name);
    }
    const { code, stderr } = await ask(`http://own.wild.example.test:${TCP}/`);
    assert.notEqual(code, 0);
    assert.match(stderr, /403|502|503/);
    await egress.access({ code: "EGRESS_REFUSED", "dst.service": "*.wild.example.test" });
  });

  test("a name that is not there says so", async () => {
    assert.equal(await refusal(`http://gone.example.test:${HTTP}/`), "503 NO_HEALTHY_UPSTREAM");
    const line = await egress.access({ code: "NO_HEALTHY_UPSTREAM" });
    assert.match(String(line["error"]), /gone\.example\.test: .*ENOTFOUND/);
  });

  test("a route of a Service leads to a host outside, listed or below a wildcard", async () => {
    for (const path of ["/listed", "/below"]) {
      const { app, url } = echoed(await ask(`http://rates.default${path}`));
      assert.deepEqual([app, url], [outside.address, path]);
    }
    await egress.access({ path: "/below", upstream_cluster: `default/*.wild.example.test:${HTTP}` });
  });
});
