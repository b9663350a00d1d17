// app → uproxy → waypoint → uproxy → one of two apps: session persistence (GEP-1619) over requests, changes of the configuration and a
// restart of the waypoint. The times of sessions are tested beside `session-rules.ts`, with a clock that is moved.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fields } from "../support/http-message.ts";
import type { Proxy, ProxyOptions } from "../support/mesh.ts";
import { httpRoute, service, workloadEntry, type Resource } from "../support/resources.ts";
import { APP_PORT, SHOP, startShop, version, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";
import { seenIn } from "../support/wire-app.ts";

/** An answer: who gave it, and the session that came with it. */
interface Visit {
  readonly app: string;
  /** What the client sends from now on, as a cookie or a header; `undefined`: nothing new. */
  readonly given: string | undefined;
}

/** A service whose one workload comes and goes. */
const PASSING = { name: "passing", port: SHOP.http };
const PASSING_PORT = { name: "http", port: SHOP.http, targetPort: APP_PORT, appProtocol: "http" };

function rule(path: string, backends: readonly object[], sessionPersistence: object = {}): object {
  return { matches: [{ path: { type: "PathPrefix", value: path } }], backendRefs: backends, sessionPersistence };
}

function routes(weights: readonly [number, number]): Resource[] {
  const both = [{ name: "shop", port: SHOP.http }];
  const split = ["v1", "v2"].map((name, index) => Object.assign({ name, port: SHOP.http }, { weight: weights[index] }));
  return [
    httpRoute("sessions", "shop", [
      rule("/cookie", both, { sessionName: "SID" }),
      rule("/permanent", both, {
        sessionName: "LONG",
        absoluteTimeout: "1h",
        cookieConfig: { lifetimeType: "Permanent" },
      }),
      rule("/header", both, { sessionName: "x-session", type: "Header" }),
      rule("/split", split, { sessionName: "SPLIT" }),
      rule("/passing", [PASSING], { sessionName: "PASS" }),
    ]),
  ];
}

/** The workload of `passing`: one of the two applications under another name. */
function passing(address: string, account: string): Resource[] {
  return [workloadEntry(`passing-of-${account}`, address, { serviceAccount: account, app: "passing" })];
}

describe("sessions", () => {
  let shop: Shop;
  let waypoint: Proxy;
  let folder: string;
  let options: Pick<ProxyOptions, "config">;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "culvert-sessions-"));
    const secrets = join(folder, "secrets");
    writeFileSync(secrets, `# of all instances\n${"0123456789abcdef".repeat(4)}\n`, { mode: 0o600 });
    options = { config: { sessions: { secrets } } };
    shop = await startShop({
      apps: 2,
      waypoint: options,
      more: ({ apps }) => [
        version("v1", "v1"),
        version("v2", "v2"),
        { ...service(PASSING.name, []), spec: { selector: { app: "passing" }, ports: [PASSING_PORT] } },
        ...passing(apps[0], "shop-1"),
      ],
    });
    ({ waypoint } = shop);
    await shop.put("routes", routes([1, 1]));
  });

  after(async () => {
    await shop.mesh.stop();
    rmSync(folder, { recursive: true });
  });

  async function visit(path: string, session?: string, field: "cookie" | "x-session" = "cookie"): Promise<Visit> {
    const wire = await shop.dial();
    const answer = await wire.get(path, session === undefined ? {} : { [field]: session });
    wire.close();
    const lines = fields(answer.head, field === "cookie" ? "set-cookie" : "x-session");
    assert.ok(lines.length <= 1);
    return { app: seenIn(answer).app, given: lines[0]?.replace(/;.*/, "") };
  }

  /** Asks often enough that chance would show. */
  async function staysAt(app: string, path: string, session: string, field?: "cookie" | "x-session"): Promise<void> {
    for (let i = 0; i < 15; i++) {
      const { app: got, given } = await visit(path, session, field);
      assert.equal(got, app);
      assert.equal(given, undefined, "there is nothing new to tell");
    }
  }

  async function newSession(path: string, field?: "cookie" | "x-session"): Promise<{ app: string; session: string }> {
    const { app, given } = await visit(path, undefined, field);
    assert.ok(given !== undefined);
    return { app, session: given };
  }

  test("who comes back with the cookie comes back to the same application", async () => {
    const { app, session } = await newSession("/cookie");
    await staysAt(app, "/cookie", `a=1; ${session}; b=2`);
    const apps = new Set<string>();
    await until("both applications for new clients", async () => apps.add((await visit("/cookie")).app).size === 2);
  });

  test("the cookie says what the rule says", async () => {
    const wire = await shop.dial();
    const [plain = ""] = fields((await wire.get("/cookie")).head, "set-cookie");
    assert.match(plain, /^SID=[\w-]{55}; Path=\/cookie; HttpOnly; SameSite=Strict$/);
    const [permanent = ""] = fields((await wire.get("/permanent/x")).head, "set-cookie");
    assert.match(permanent, /^LONG=[\w-]{55}; Path=\/permanent; Max-Age=3600; HttpOnly; SameSite=Strict$/);
    wire.close();
  });

  test("a header serves as well", async () => {
    const { app, session } = await newSession("/header", "x-session");
    await staysAt(app, "/header", session, "x-session");
  });

  test("a session that was not given out is none: nobody can aim at an application", async () => {
    const { session } = await newSession("/cookie");
    const value = session.slice("SID=".length);
    const other = (await newSession("/permanent")).session.slice("LONG=".length);
    const forged = [value.split("").toReversed().join(""), value.slice(1), "shop-1", "", other];
    for (const text of forged) assert.notEqual((await visit("/cookie", `SID=${text}`)).given, undefined, text);
  });

  test("sessions stand above weights, and outlive changes of the configuration", async () => {
    const [first, second] = [new Map<string, string>(), ["shop-1", "shop-2"]];
    await until("a session at each", async () => {
      const { app, session } = await newSession("/split");
      first.set(app, session);
      return first.size === 2;
    });
    await shop.put("routes", routes([0, 1]));
    for (const app of second) await staysAt(app, "/split", first.get(app) ?? "");
    for (let i = 0; i < 10; i++) assert.equal((await visit("/split")).app, "shop-2", "new ones go by weight");
    await shop.put("routes", routes([1, 1]));
    for (const app of second) await staysAt(app, "/split", first.get(app) ?? "");
  });

  test("where its application is gone, a session begins anew elsewhere", async () => {
    await shop.put("passing", passing(shop.addresses.apps[1], "shop-2"));
    const both = new Map<string, string>();
    await until("a session at each", async () => {
      const { app, session } = await newSession("/passing");
      both.set(app, session);
      return both.size === 2;
    });
    await shop.put("passing", []);
    const { app, given } = await visit("/passing", both.get("shop-2"));
    assert.equal(app, "shop-1");
    assert.ok(given !== undefined);
    await staysAt("shop-1", "/passing", given);
    await staysAt("shop-1", "/passing", both.get("shop-1") ?? "");
  });

  test("another process of the waypoint with the same secret knows them", async () => {
    const { app, session } = await newSession("/cookie");
    const address = shop.addresses.waypoint;
    waypoint = await shop.mesh.waypoint({
      name: "waypoint",
      address,
      gateway: "waypoint",
      takeover: waypoint,
      ...options,
    });
    await staysAt(app, "/cookie", session);
  });
});
