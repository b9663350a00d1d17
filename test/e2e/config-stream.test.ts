// The configuration stream of a real authority, to a client of a few lines.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import type { ClientHttp2Session } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { after, test, type TestContext } from "node:test";
import type { Hello } from "@culvert/shared/config/stream/frames.ts";
import { createToken, initAuthority, joinAs, sessionOf, startAuthority, type Holder } from "../support/authority.ts";
import { ConfigTestClient } from "../support/config-client.ts";
import { framed, grpcSession } from "../support/grpc.ts";
import { runProgram } from "../support/programs.ts";
import { until } from "../support/until.ts";
import { stringify } from "yaml";

const folder = mkdtempSync(join(tmpdir(), "culvert-config-stream-"));
const resources = join(folder, "mesh");
await mkdir(resources);

const workload = (name: string, account: string, address: string, labels = `app: ${account}`): string =>
  `---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: ${address}, serviceAccount: ${account}, labels: {${labels}}}\n`;
const service = (name: string, more = ""): string =>
  `---\napiVersion: v1\nkind: Service\nmetadata: {name: ${name}${more}}\nspec: {selector: {app: ${name}}, ports: [{name: http, port: 80}]}\n`;
const policy = (name: string, app: string): string =>
  `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}}\nspec: {selector: {matchLabels: {app: ${app}}}, action: ALLOW, rules: [{}]}\n`;
const GATEWAY = `---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: wp}\nspec: {gatewayClassName: culvert-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n`;

/** In one piece: a folder is read while it is written to. */
async function put(name: string, text: string): Promise<void> {
  await writeFile(join(resources, `.${name}`), text);
  await rename(join(resources, `.${name}`), join(resources, `${name}.yaml`));
}

await put("web", workload("web-1", "web", "10.0.0.1") + service("web") + policy("web", "web"));
await put("cart", workload("cart-1", "cart", "10.0.0.2") + service("cart", ", labels: {istio.io/use-waypoint: wp}"));
await put("wp", GATEWAY + workload("wp-1", "wp", "10.0.0.3", "gateway.networking.k8s.io/gateway-name: wp"));
await put("hidden", service("hidden", `, annotations: {networking.istio.io/exportTo: "~"}`) + policy("other", "other"));

const ca = await initAuthority(folder);
const authority = await startAuthority(folder, ca, {
  resources: { files: resources },
  admin: `unix:${join(folder, "admin.sock")}`,
});
const holders = new Map<string, Holder>();
for (const account of ["web", "wp"]) holders.set(account, await joinAs(authority, await createToken(ca, account)));
after(async () => {
  await authority.program.stop();
  rmSync(folder, { recursive: true });
});

async function session(context: TestContext, account: string): Promise<ClientHttp2Session> {
  const holder = holders.get(account);
  assert.ok(holder !== undefined);
  const opened = await sessionOf(authority, holder);
  context.after(() => opened.destroy());
  return opened;
}

async function client(
  context: TestContext,
  account: string,
  hello: Partial<Hello> = {},
  subscribe: readonly string[] = [],
): Promise<ConfigTestClient> {
  return new ConfigTestClient(await session(context, account), hello, subscribe);
}

/** What the admin socket says of the clients. */
async function clientsOf(socketPath: string): Promise<string> {
  const [answer] = (await once(request({ socketPath, path: "/clients" }).end(), "response")) as [IncomingMessage];
  return textOf(answer);
}

const WEB: Partial<Hello> = { addresses: ["10.0.0.1"] };
const OWN = ["AuthorizationPolicy default/web", "Service default/web", "WorkloadEntry default/web-1"];
const CART = [
  "Gateway default/wp",
  "Service default/cart",
  "WorkloadEntry default/cart-1",
  "WorkloadEntry default/wp-1",
];

test("a uproxy is told of itself, and of a destination once it asks", async (context) => {
  const web = await client(context, "web", WEB);
  assert.deepEqual(await web.ids(), OWN);
  web.say({ kind: "subscribe", subscribe: ["host/cart", "host/hidden", "ip/10.9.9.9"], unsubscribe: [] });
  assert.deepEqual(await web.ids(2), [...OWN, ...CART].toSorted());
  assert.deepEqual([...web.answered], ["host/cart", "host/hidden", "ip/10.9.9.9"]);
  const file = web.held.get("Service default/cart")?.document;
  assert.deepEqual([file?.source, file?.line], [join(resources, "cart.yaml"), 7]);
  web.say({ kind: "subscribe", subscribe: [], unsubscribe: ["host/cart"] });
  assert.deepEqual(await web.ids(3), OWN);
});

test("who asks for the workload of another identity is told nothing of it", async (context) => {
  const liar = await client(context, "wp", { workload: "default/web-1", addresses: ["10.0.0.1"] });
  assert.deepEqual(await liar.ids(), []);
});

test("a change is for those whom it concerns, and for nobody else", async (context) => {
  const asking = await client(context, "web", WEB, ["host/later"]);
  const other = await client(context, "web", WEB);
  await asking.ids();
  await other.ids();
  await put("later", service("later") + workload("later-1", "later", "10.0.0.9"));
  assert.deepEqual(await asking.ids(2), [...OWN, "Service default/later", "WorkloadEntry default/later-1"].toSorted());
  await put("later", service("later") + workload("later-1", "later", "10.0.0.10"));
  await asking.ids(3);
  assert.deepEqual([...(asking.updates[2]?.set.keys() ?? [])], ["WorkloadEntry default/later-1"]);
  await rm(join(resources, "later.yaml"));
  assert.deepEqual(await asking.ids(4), OWN);
  assert.equal(other.updates.length, 1);
});

test("who comes back with what it has is told the difference", async (context) => {
  const first = await client(context, "web", WEB, ["host/cart"]);
  const ids = await first.ids();
  first.close();
  const have = new Map([...first.have(), ["Service default/gone", "0123456789abcdef"]]);
  have.set("Service default/cart", "0123456789abcdef");
  const again = await client(context, "web", { ...WEB, have }, ["host/cart"]);
  await again.ids();
  const [update] = again.updates;
  assert.deepEqual([...(update?.set.keys() ?? [])], ["Service default/cart"]);
  assert.deepEqual(update?.removed, ["Service default/gone"]);
  assert.deepEqual(update?.answered, ["host/cart"]);
  assert.equal(ids.length, first.held.size);
});

function inUse(): number {
  return authority.program.output.filter((line) => line.includes("resources in use")).length;
}

test("changes that come while an update waits become one update", async (context) => {
  const slow = await client(context, "web", WEB, ["host/busy"]);
  slow.isWilling = false;
  await slow.ids();
  for (const last of [1, 2, 3]) {
    const before = inUse();
    await put("busy", service("busy") + workload("busy-1", "busy", `10.0.1.${last}`));
    await until("the folder to be read", () => inUse() > before || undefined);
  }
  assert.equal(slow.updates.length, 1);
  slow.ack();
  await slow.ids(2);
  slow.ack();
  const entry = slow.held.get("WorkloadEntry default/busy-1")?.document;
  assert.match(JSON.stringify(entry?.kind === "map" ? [...entry.entries] : []), /10\.0\.1\.3|spec/);
  await rm(join(resources, "busy.yaml"));
  await slow.ids(3);
});

test("a refused update is told, not sent again, and followed by what is different", async (context) => {
  const picky = await client(context, "web", WEB, ["host/bad"]);
  await picky.ids();
  picky.isWilling = false;
  await put("bad", service("bad"));
  await picky.ids(2);
  picky.nack("Service default/bad", "spec.ports", "expected something else");
  const line = await authority.program.line(/configuration refused/);
  assert.match(line, /Service default\/bad spec\.ports: expected something else/);
  assert.match(line, /spiffe:\/\/cluster\.local\/ns\/default\/sa\/web/);
  const stdout = await clientsOf(join(folder, "admin.sock"));
  const { clients } = JSON.parse(stdout) as { clients: { refused: unknown[]; acknowledged: string }[] };
  const told = clients.find(({ refused }) => refused.length > 0);
  assert.deepEqual(told?.refused, [
    { resource: "Service default/bad", path: "spec.ports", text: "expected something else" },
  ]);
  assert.equal(told?.acknowledged, picky.updates[0]?.version);
  assert.equal(picky.updates.length, 2);
  picky.isWilling = true;
  await put("bad", service("bad") + workload("bad-1", "bad", "10.0.2.1"));
  await picky.ids(3);
  assert.deepEqual([...(picky.updates[2]?.set.keys() ?? [])].toSorted(), [
    "Service default/bad",
    "WorkloadEntry default/bad-1",
  ]);
  await rm(join(resources, "bad.yaml"));
  await picky.ids(4);
});

test("a folder with errors changes nothing until it is good again", async (context) => {
  const web = await client(context, "web", WEB, ["host/new"]);
  await web.ids();
  await put("new", "kind: Service\n");
  assert.match(await authority.program.line(/resource error/), /new\.yaml:1/);
  const late = await client(context, "web", WEB);
  assert.deepEqual(await late.ids(), OWN);
  await put("new", service("new"));
  assert.deepEqual(await web.ids(2), [...OWN, "Service default/new"].toSorted());
  await rm(join(resources, "new.yaml"));
  await web.ids(3);
});

test("an instance of a waypoint is told of what it serves; whoever is none, of nothing", async (context) => {
  const waypoint = await client(context, "wp", { proxy: "waypoint", gateway: "default/wp" });
  assert.deepEqual(await waypoint.ids(), CART);
  const stranger = await client(context, "web", { proxy: "waypoint", gateway: "default/wp" });
  const { status, message } = await stranger.ended;
  assert.deepEqual([status, message], [7, "not an instance of that Gateway"]);
});

test("without a certificate there is nothing", async (context) => {
  const anonymous = await grpcSession({ port: authority.port, ca: authority.root });
  context.after(() => anonymous.destroy());
  const nobody = new ConfigTestClient(anonymous);
  assert.equal((await nobody.ended).status, 16);
});

test("what is no frame, or not due, ends the stream with the reason", async (context) => {
  const open = await session(context, "web");
  const rude = new ConfigTestClient(open, WEB);
  rude.raw(framed(Buffer.from("nonsense")));
  const { status, message } = await rude.ended;
  assert.deepEqual([status, /nothing that is allowed|after the end/.test(decodeURI(message))], [3, true]);
  const early = new ConfigTestClient(open, WEB);
  early.say({ kind: "ack", nonce: 77 });
  assert.equal((await early.ended).status, 3);
  const greedy = new ConfigTestClient(open, WEB);
  const keys = Array.from({ length: 5_000 }, (_, index) => `host/x${index}.test`);
  greedy.say({ kind: "subscribe", subscribe: keys, unsubscribe: [] });
  assert.equal((await greedy.ended).status, 8);
});

test("check reads the resources too, and the stream ends with the authority", async (context) => {
  const bad = join(folder, "bad-mesh");
  await mkdir(bad);
  await writeFile(join(bad, "a.yaml"), service("a", ", labels: {istio.io/use-waypoint: none-such}"));
  const file = join(folder, "check.yaml");
  await writeFile(file, stringify({ folder: ca, names: ["authority"], resources: { files: bad } }));
  const checked = await runProgram("authority", ["check", "--config", file]);
  assert.notEqual(checked.code, 0);
  assert.match(checked.stderr, /there is no waypoint default\/none-such/);

  const web = await client(context, "web", WEB);
  await web.ids();
  process.kill(authority.program.pid, "SIGTERM");
  assert.equal((await web.ended).status, 14);
});
