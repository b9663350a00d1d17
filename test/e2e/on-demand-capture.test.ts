// The first connection to a destination that a uproxy does not hold, where the app's connections and its DNS are captured: plain
// `curl` waits for the authority's word, and what is in no resource is treated so only once the authority has said it.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ConfigAuthority, type Asking, type SourceFacts } from "../support/config-authority.ts";
import { spiffeId } from "../support/identities.ts";
import { echoed, startLab, type Lab } from "../support/lab.ts";
import type { Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import type { Host } from "../support/netns.ts";
import type { Result } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const PORT = 8080;
/** What the uproxies run as, so that capture tells them from the app. */
const PROXY_USER = 1337;
/** Services before the one application, each for one question. */
const SERVICES = 10;

/** A host with an app, which is `curl`, and its uproxy. */
interface Place {
  readonly host: Host;
  readonly proxy: Proxy;
}

describe("a captured connection", needs({ root: true, commands: ["ip", "nft", "curl", "setpriv"] }), () => {
  let lab: Lab;
  let authority: ConfigAuthority;
  let appHost: Host;
  let outside: Host;
  let patient: Place;
  let hasty: Place;
  let services = 0;

  before(async () => {
    lab = await startLab();
    const { mesh, network } = lab;
    [appHost, outside] = [await lab.host(), await lab.host()];
    const [patientHost, hastyHost] = [await lab.host(), await lab.host()];
    mesh.write("mesh", [
      ...Array.from({ length: SERVICES }, (_, index) =>
        service(`s-${index + 1}`, [{ name: "http", port: PORT }], { app: "app", clusterIP: `10.96.1.${index + 1}` }),
      ),
      workloadEntry("app", appHost.address, { serviceAccount: "app" }),
      workloadEntry("patient", patientHost.address, { serviceAccount: "patient" }),
      workloadEntry("hasty", hastyHost.address, { serviceAccount: "hasty" }),
    ]);
    authority = await ConfigAuthority.start(mesh, { host: outside, ca: await mesh.writeAuthority() });
    const { resources } = authority;
    const start = async (name: string, host: Host, unknown: string, configurationWait: string): Promise<Place> => {
      // A virtual address needs a route for the packet that is turned, though nobody has it; names are asked of nobody either.
      await lab.done(host, "ip", "route", "add", "10.96.0.0/16", "dev", "eth0");
      network.resolvConf(host, `nameserver ${outside.address}\n`);
      const config = {
        workload: { name },
        resources,
        outbound: { proxy: "off", transparent: ":15001", unknown },
        dns: "localhost:15053",
        limits: { configurationWait },
      };
      const proxy = await lab.uproxy(name, host, config, { user: PROXY_USER });
      await lab.capture(host, "apply", name);
      return { host, proxy };
    };
    [patient, hasty] = await Promise.all([
      start("patient", patientHost, "passthrough", "100s"),
      start("hasty", hastyHost, "refuse", "300ms"),
      lab.uproxy("app", appHost, { workload: { name: "app" } }),
      lab.app("http", appHost, PORT),
      lab.app("http", outside, PORT),
    ]);
  });

  after(() => lab.stop());

  function get({ host }: Place, to: string): Promise<Result> {
    return lab.on(host, "curl", "--silent", "--show-error", "--max-time", "60", `http://${to}:${PORT}/`);
  }

  async function facts({ host }: Place): Promise<Asking> {
    const dump = await lab.done(host, "curl", "--silent", "http://127.0.0.1:15000/config_dump");
    return (JSON.parse(dump) as { readonly source: SourceFacts }).source.stream;
  }

  /** A service that nobody has asked for. */
  function fresh(): { readonly name: string; readonly ip: string } {
    services += 1;
    assert.ok(services <= SERVICES);
    return { name: `s-${services}`, ip: `10.96.1.${services}` };
  }

  for (const [by, to, questions] of [
    ["the address of a service", () => fresh().ip, 1],
    ["the address of a workload", () => appHost.address, 1],
    // Asked for by DNS; it could be the workload `s-n` of the headless service `default`. The address that DNS gives is known by then.
    ["a name", () => `${fresh().name}.default`, 2],
  ] as const) {
    test(`by ${by}: is carried through the mesh after one question, and the next time without any`, async () => {
      const place = to();
      const first = await authority.askedFirst(
        () => facts(patient),
        () => get(patient, place),
      );
      // In plain TCP the app would see the client's own address.
      assert.equal(echoed(first.result).caller.split(":")[0], appHost.address);
      assert.equal(first.questions, questions);
      const { subscriptions } = await facts(patient);
      await authority.silent(async () => void echoed(await get(patient, place)));
      assert.equal((await facts(patient)).subscriptions, subscriptions);
    });
  }

  test("to what is in no resource goes on, or is refused, once the authority has said so", async () => {
    const { result } = await authority.askedFirst(
      () => facts(patient),
      () => get(patient, outside.address),
    );
    assert.equal(echoed(result).caller.split(":")[0], patient.host.address);
    await until("the refusal", async () => {
      const { code, stdout } = await get(hasty, outside.address);
      assert.notEqual(code, 0, stdout);
      return hasty.proxy.log.some((line) => line["code"] === "EGRESS_REFUSED");
    });
  });

  test("is unavailable within the limit while the authority is away, and what is held goes on", async () => {
    const { name, ip } = fresh();
    await until("an answer", async () => (await get(hasty, ip)).code === 0);
    await authority.stop();
    const refused = [appHost.address, patient.host.address, fresh().ip];
    for (const to of refused) {
      const { code, stdout } = await get(hasty, to);
      assert.ok(code !== 0 && stdout === "", to);
      const line = await hasty.proxy.access({ "dst.addr": `${to}:${PORT}`, code: "CONFIGURATION_UNAVAILABLE" });
      assert.match(String(line["error"]), /the authority (?:cannot be reached|has not answered) in 300 ms/);
    }
    const { code } = await get(hasty, `${name}.default`);
    assert.equal(code, 6, "the name has no address");
    const { "src.identity": source } = await hasty.proxy.access({
      "dst.addr": `${ip}:${PORT}`,
      "dst.service": `${name}.default.svc.cluster.local`,
    });
    assert.equal(source, spiffeId("hasty"));
    echoed(await get(hasty, ip));
  });
});
