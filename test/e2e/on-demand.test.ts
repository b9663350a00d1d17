// The first connection to a destination that a proxy does not hold, by every way in but capture (`on-demand-capture.test.ts`): it waits for
// the authority's word, and for nothing longer than it may; what is in no resource is treated so only once the authority has said it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { startHttpApp, type App, type Echoed } from "../support/apps.ts";
import { ConfigAuthority, type Asking } from "../support/config-authority.ts";
import { command } from "../support/env.ts";
import { ask } from "../support/http.ts";
import { joinMesh, type Insider } from "../support/in-process.ts";
import { askingOf, inProcess, MEMBER_PORT, startNameless, throughUproxy, type Member } from "../support/members.ts";
import { startMesh, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { run } from "../support/process.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { until } from "../support/until.ts";

const LISTENER = 9001;
/** Services before the one application, each for one question. */
const SERVICES = 30;
/** Nobody waits so long here; and who is told soon. */
const LONG = "100s";
const SOON = "300ms";

/** Who asks: what becomes of what is in no resource, and how long a destination is waited for. */
const MEMBERS = {
  patient: { unknown: "passthrough", configurationWait: LONG },
  strict: { unknown: "refuse", configurationWait: LONG },
  hasty: { unknown: "passthrough", configurationWait: SOON },
} as const;
type Kind = keyof typeof MEMBERS;

const SOCKS = (place: string): readonly string[] => ["--socks5-hostname", place];
const CONNECT = (place: string): readonly string[] => ["--proxytunnel", "--proxy", `http://${place}`];

describe("a destination that is not held yet", needs({ commands: ["curl", "dig"] }), () => {
  let mesh: Mesh;
  let authority: ConfigAuthority;
  let app: App;
  /** One for each way. */
  const outside: App[] = [];
  const uproxies = new Map<Kind, Proxy>();
  const insiders = new Map<Kind, Insider>();
  /** Requests of the DNS proxies at the resolver behind them. */
  let resolved = 0;
  let services = 0;

  const WAYS: readonly (readonly [way: string, member: (kind: Kind) => Member])[] = [
    ["SOCKS5", (kind) => throughUproxy(uproxy(kind), SOCKS)],
    ["HTTP CONNECT", (kind) => throughUproxy(uproxy(kind), CONNECT)],
    ["a service that is its own proxy", (kind) => inProcess(insider(kind))],
  ];

  before(async () => {
    mesh = await startMesh();
    const appAddress = mesh.address();
    const kinds = Object.keys(MEMBERS) as Kind[];
    const places = kinds.map((kind) => ({ kind, beside: mesh.address(), inside: mesh.address() }));
    mesh.write("mesh", [
      ...Array.from({ length: SERVICES }, (_, index) =>
        service(`s-${index + 1}`, [{ name: "http", port: MEMBER_PORT }], {
          app: "app",
          clusterIP: `10.96.1.${index + 1}`,
        }),
      ),
      workloadEntry("app", appAddress, { serviceAccount: "app" }),
      ...places.flatMap(({ kind, beside, inside }) => [
        workloadEntry(kind, beside, { serviceAccount: kind }),
        workloadEntry(`${kind}-inside`, inside, { serviceAccount: `${kind}-inside` }),
      ]),
    ]);
    authority = await ConfigAuthority.start(mesh, { ca: await mesh.writeAuthority() });
    app = await mesh.with(startHttpApp(appAddress, MEMBER_PORT, "in the mesh"));
    for (const _ of WAYS) outside.push(await mesh.with(startHttpApp(mesh.address(), MEMBER_PORT, "outside")));
    const nameless = await mesh.with(startNameless(mesh.address(), () => void (resolved += 1)));
    const upstream = [hostPort(nameless.host, nameless.port)];
    const { resources } = authority;
    await Promise.all([
      mesh.uproxy({ name: "app", address: appAddress }),
      ...places.flatMap(({ kind, beside: address, inside }) => {
        const { unknown, configurationWait } = MEMBERS[kind];
        const limits = { configurationWait };
        const own = mesh.inside(address);
        const config = {
          resources: kind === "hasty" ? keeping() : resources,
          limits,
          outbound: { proxy: hostPort(own, 15080), unknown },
          dns: { listen: hostPort(own, 15053), upstream },
        };
        return [
          mesh.uproxy({ name: kind, address, config }).then((proxy) => uproxies.set(kind, proxy)),
          joinMesh(mesh, { name: `${kind}-inside`, address: inside, resources, limits, outbound: { unknown } }).then(
            (joined) => insiders.set(kind, joined),
          ),
        ];
      }),
    ]);
  });

  after(() => mesh.stop());

  const keeping = (): object => ({ authority: authority.resources.authority, lastGood: join(mesh.folder, "last") });

  function uproxy(kind: Kind): Proxy {
    const found = uproxies.get(kind);
    assert.ok(found !== undefined);
    return found;
  }

  function insider(kind: Kind): Insider {
    const found = insiders.get(kind);
    assert.ok(found !== undefined);
    return found;
  }

  /** A service that nobody has asked for. */
  function fresh(): { readonly name: string; readonly ip: string } {
    services += 1;
    assert.ok(services <= SERVICES);
    return { name: `s-${services}`, ip: `10.96.1.${services}` };
  }

  /** See `askedFirst`; nobody is reached before the authority has answered. */
  function answeredLater<T>(
    facts: Member["facts"],
    begin: () => Promise<T>,
  ): ReturnType<typeof authority.askedFirst<T>> {
    const nobody = reached();
    return authority.askedFirst(facts, begin, () => assert.deepEqual(reached(), nobody));
  }

  function reached(): readonly number[] {
    return [app.accepted, ...outside.map(({ accepted }) => accepted), resolved];
  }

  for (const [way, member] of WAYS) {
    for (const by of ["name", "ip"] as const) {
      test(`${way}, by ${by}: is reached after one question, and the next time without any`, async () => {
        const patient = member("patient");
        const { [by]: to } = fresh();
        const { result, questions } = await answeredLater(patient.facts, () => patient.get(to));
        assert.equal((JSON.parse(result) as Echoed).app, "in the mesh");
        assert.equal(questions, 1);
        await patient.access({
          "dst.addr": `${to}:${MEMBER_PORT}`,
          "dst.identity": "spiffe://cluster.local/ns/default/sa/app",
        });
        const { subscriptions } = await patient.facts();
        await authority.silent(() => patient.get(to));
        assert.equal((await patient.facts()).subscriptions, subscriptions);
      });
    }

    test(`${way}: what is in no resource goes on, or is refused, once the authority has said so`, async () => {
      const index = WAYS.findIndex(([each]) => each === way);
      const plain = outside[index]?.host ?? "";
      const patient = member("patient");
      const { result } = await answeredLater(patient.facts, () => patient.get(plain));
      assert.equal((JSON.parse(result) as Echoed).app, "outside");
      const strict = member("strict");
      for (const to of [plain, `nobody-${index}.default`]) {
        const refused = await answeredLater(strict.facts, () => strict.get(to).then(assert.fail, () => "refused"));
        assert.equal(refused.result, "refused");
        await strict.access({ "dst.addr": `${to}:${MEMBER_PORT}`, code: "EGRESS_REFUSED" });
      }
    });
  }

  /** What dig says of a name: status, addresses, and the reason of an error. */
  async function dig(kind: Kind, name: string, ...flags: readonly string[]): Promise<string> {
    const place = [`@${uproxy(kind).inside}`, "-p", "15053", "+tries=1", "+timeout=60"];
    const { stdout } = await run(command("dig"), [...place, ...flags, name, "A"], { deadlineMs: 70_000 });
    return stdout;
  }

  for (const [transport, ...flags] of [["UDP"], ["TCP", "+tcp"]] as const) {
    test(`DNS over ${transport}: a name is answered after the authority's answer, and another is asked of a resolver after it`, async () => {
      const patient = uproxy("patient");
      const facts = (): Promise<Asking> => askingOf(patient);
      const { name, ip } = fresh();
      const { result, questions } = await answeredLater(facts, () => dig("patient", `${name}.default`, ...flags));
      assert.match(result, new RegExp(`status: NOERROR[\\s\\S]*\\sA\\s${ip.replaceAll(".", "\\.")}\\s`));
      // It could be the workload `s-n` of the headless service `default`: one question more, for the first name of a namespace alone.
      assert.equal(questions, transport === "UDP" ? 2 : 1);
      const nobody = await answeredLater(facts, () => dig("patient", `nobody-${transport}.default`, ...flags));
      assert.match(nobody.result, /status: NXDOMAIN/);
    });
  }

  describe("while the authority is away", () => {
    let held: { readonly name: string; readonly ip: string };

    before(async () => {
      held = fresh();
      // What is asked for by a proxy that tells soon may take longer than that.
      for (const [, member] of WAYS) await until("an answer", () => member("hasty").get(held.name));
      await until("all to be kept", async () => (await askingOf(uproxy("hasty"))).subscriptions === 1);
      await authority.stop();
    });

    for (const [way, member] of WAYS) {
      test(`${way}: what is new is unavailable within the limit, what is held goes on`, async () => {
        const hasty = member("hasty");
        const { name, ip } = fresh();
        const [plain] = outside;
        assert.ok(plain !== undefined);
        const accepted = [app.accepted, plain.accepted];
        for (const to of [name, ip, plain.host]) {
          await assert.rejects(hasty.get(to));
          const line = await hasty.access({ "dst.addr": `${to}:${MEMBER_PORT}`, code: "CONFIGURATION_UNAVAILABLE" });
          assert.match(String(line["error"]), /the authority (?:cannot be reached|has not answered) in 300 ms/);
        }
        assert.deepEqual([app.accepted, plain.accepted], accepted);
        assert.equal((JSON.parse(await hasty.get(held.name)) as Echoed).app, "in the mesh");
      });
    }

    for (const [transport, ...flags] of [["UDP"], ["TCP", "+tcp"]] as const) {
      test(`DNS over ${transport}: a name that is new has no answer, whatever a resolver would say`, async () => {
        const asked = resolved;
        const answer = await dig("hasty", `${fresh().name}.default`, ...flags);
        assert.match(answer, /status: SERVFAIL[\s\S]*EDE: 22[\s\S]*in 300 ms/);
        assert.equal(resolved, asked);
        assert.match(await dig("hasty", held.name, ...flags), /status: NOERROR/);
      });
    }

    test("a listener leads nowhere until the authority has said where its destination is", async () => {
      const hasty = uproxy("hasty");
      await hasty.program.stop();
      const { name } = fresh();
      const listen = hostPort(hasty.inside, LISTENER);
      const again = await mesh.uproxy({
        name: "hasty",
        address: hasty.address,
        config: {
          resources: keeping(),
          limits: { configurationWait: SOON },
          outbound: { proxy: "off", listeners: [{ listen, to: `${name}:${MEMBER_PORT}` }] },
        },
      });
      await assert.rejects(ask(`http://${listen}/`), /ECONNRESET|socket hang up/);
      await again.access({ "dst.addr": `${name}:${MEMBER_PORT}`, code: "CONFIGURATION_UNAVAILABLE" });
      await authority.start();
      again.program.signal("SIGHUP");
      const { body } = await until("an answer", () => ask(`http://${listen}/`));
      assert.equal((JSON.parse(body) as Echoed).app, "in the mesh");
      // It was asked for with the start, and stays; nobody has to go there first.
      const facts = await authority.client("default/hasty");
      assert.equal(facts?.subscriptions, (await askingOf(again)).subscriptions);
    });
  });
});
