// Hostile, row P8: policies that change many times while requests run. Each request is decided by one version that was whole and in force
// while it ran: never by one that is gone, by one that was not there yet, or by halves of two.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { echo, startTcpApp } from "../support/apps.ts";
import { field } from "../support/http-message.ts";
import { verdictOf, type HttpWire } from "../support/http-wire.ts";
import { authorizationPolicy, type Resource } from "../support/resources.ts";
import { SHOP, startShop, type Shop } from "../support/shop.ts";
import { converse } from "../support/tcp.ts";

const FLIPS = 60;
const CALLERS = 6;
/** A change may also come upon a request that is on its way. */
const REFUSED: ReadonlySet<string> = new Set(["403 DENIED_BY_POLICY", "403 POLICY_CHANGED"]);

function paths(...names: readonly string[]): object[] {
  // The port keeps them off TCP, where a path would count as matching whatever it is.
  return [{ to: [{ operation: { paths: names, ports: [String(SHOP.http)] } }] }];
}

/**
 * Version `n` lets through `/v-<n>`, if it is even also TCP, and nothing else. It says so in two policies, so that halves of two versions
 * would show: the ALLOW of one version with the DENY of another lets through what no version does.
 */
function version(n: number): Resource[] {
  const tcp = n % 2 === 0 ? [{ to: [{ operation: { ports: [String(SHOP.tcp)] } }] }] : [];
  return [
    authorizationPolicy("allow", "ALLOW", { service: "shop" }, [
      ...paths(`/v-${n}`, `/both-${n}`, `/both-${n + 1}`),
      ...tcp,
    ]),
    authorizationPolicy("deny", "DENY", { service: "shop" }, paths(`/both-${n}`, `/both-${n + 1}`)),
  ];
}

let shop: Shop;

before(async () => {
  shop = await startShop();
  await shop.mesh.with(startTcpApp(shop.apps[0].address, SHOP.tcp, echo));
});

after(() => shop.mesh.stop());

test("no request is let through by a version that was not in force, and none by two halves", async () => {
  // The newest version that was written and the newest that is known to be in use: in force is one of those from this to that.
  const state = { written: 0, inUse: 0, done: false };
  const verdicts = new Map<string, number>();
  const connections = new Map<boolean, number>();
  const wrong: string[] = [];

  /** Notes the verdict on a path that version `n` names; whether the connection goes on. */
  async function ask(wire: HttpWire, n: number, path: string): Promise<boolean> {
    const oldest = state.inUse;
    const answer = await wire.get(path);
    const newest = state.written;
    const verdict = verdictOf(answer);
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    const could = path.startsWith("/v-") && n >= oldest && n <= newest;
    const must = could && oldest === newest;
    if (verdict === "200") {
      if (!could) wrong.push(`${path} passed, in force was one of ${oldest} to ${newest}`);
    } else if (!REFUSED.has(verdict)) wrong.push(`${path}: ${verdict}`);
    else if (must) wrong.push(`${path} was refused, in force was ${n} alone`);
    return field(answer.head, "connection") !== "close";
  }

  async function caller(): Promise<void> {
    let wire = await shop.dial();
    while (!state.done) {
      const { inUse, written } = state;
      for (const [n, name] of [
        [inUse, "v"],
        [written, "v"],
        [written + 1, "v"],
        [inUse - 1, "v"],
        [inUse, "both"],
        [written + 1, "both"],
      ] as const) {
        if (await ask(wire, n, `/${name}-${n}`)) continue;
        wire.close();
        wire = await shop.dial();
      }
    }
    wire.close();
  }

  async function connecter(): Promise<void> {
    while (!state.done) {
      const { inUse } = state;
      const { received, ended } = await converse(shop.client.address, SHOP.tcp, "x");
      const could = Array.from({ length: state.written - inUse + 1 }, (_, index) => (inUse + index) % 2);
      const passed = ended === "end" && received.toString() === "x";
      connections.set(passed, (connections.get(passed) ?? 0) + 1);
      if (!could.includes(passed ? 0 : 1))
        wrong.push(`TCP ${passed ? "passed" : "was refused"} between ${inUse} and now`);
    }
  }

  await shop.put("policies", version(0));
  const callers = [...Array.from({ length: CALLERS }, () => caller()), connecter(), connecter()];
  for (let n = 1; n <= FLIPS; n++) {
    state.written = n;
    await shop.put("policies", version(n));
    state.inUse = n;
  }
  state.done = true;
  await Promise.all(callers);
  assert.deepEqual(wrong.slice(0, 5), []);
  const count = (verdict: string): number => verdicts.get(verdict) ?? 0;
  assert.ok(count("200") > FLIPS && count("403 DENIED_BY_POLICY") > FLIPS, JSON.stringify([...verdicts]));
  assert.equal(connections.size, 2, "TCP passed, and was refused");
});
