// Machine. What must hold in every architecture, however an app comes into the mesh and wherever resources come from: the same test bodies
// for each cell of the matrix.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { spiffeId } from "../identities.ts";
import type { LogLine, Proxy } from "../mesh.ts";
import { needs } from "../needs.ts";
import type { Host } from "../netns.ts";
import type { Result } from "../process.ts";
import { commandLine } from "../programs.ts";
import { until } from "../until.ts";
import { SHOP_PORTS, startMatrixLab, VIP, type MatrixLab, type Instance } from "./matrix-lab.ts";
import { CAPTURES, skipReason, SOURCES, type Architecture, type Capture, type Wants } from "./cells.ts";

const COMMANDS = ["ip", "nft", "curl", "setpriv"];
const SHOP = "shop.default.svc.cluster.local";

/** A body: what it shows, and what of an architecture it is about. */
interface Body<Run> {
  readonly name: string;
  readonly wants: Wants;
  readonly run: Run;
}

/** For each cell. */
const BODIES: readonly Body<(lab: MatrixLab, capture: Capture) => Promise<void>>[] = [
  { name: "a request by name, and by address", wants: "anything", run: byNameAndAddress },
  { name: "a port is open, another is closed by an L4 policy", wants: "anything", run: ports },
  { name: "a path is closed by an L7 policy", wants: "waypoint", run: paths },
  { name: "a header chooses the version", wants: "waypoint", run: routes },
  { name: "the instance is the one that the placement says", wants: "waypoint", run: place },
  { name: "identities are proven hop by hop, and told to the app", wants: "anything", run: identities },
  { name: "access log and metrics name both ends", wants: "anything", run: observation },
];

/** For all captures at once, because programs start anew or change for all of them. */
const BODIES_OF_ALL: readonly Body<(lab: MatrixLab) => Promise<void>>[] = [
  { name: "certificates change under requests", wants: "anything", run: rotation },
  {
    name: "without the waypoint nothing goes around it, and with it everything goes on",
    wants: "waypoint",
    run: restart,
  },
  { name: "explain names the way", wants: "anything", run: explains },
];

/** The tests of one architecture, with resources from every source. */
export function testMatrix(architecture: Architecture): void {
  for (const source of SOURCES) {
    describe(`${architecture}, resources from ${source}`, needs({ root: true, commands: COMMANDS }), () => {
      let lab: MatrixLab;
      before(async () => {
        lab = await startMatrixLab(architecture, source);
      });
      after(() => lab.stop());

      for (const capture of CAPTURES) {
        describe(capture, () => {
          for (const { name, wants, run } of BODIES) {
            test(name, { skip: skipReason(architecture, wants) }, () => run(lab, capture));
          }
        });
      }
      for (const { name, wants, run } of BODIES_OF_ALL) {
        test(name, { skip: skipReason(architecture, wants) }, () => run(lab));
      }
    });
  }
}

async function byNameAndAddress(lab: MatrixLab, capture: Capture): Promise<void> {
  for (const by of ["name", "ip"] as const) {
    const told = await lab.told(capture, { by, path: `/by-${by}` });
    assert.equal(told.url, `/by-${by}`);
    const host = told.rawHeaders[told.rawHeaders.findIndex((name) => name.toLowerCase() === "host") + 1];
    assert.match(host ?? "", by === "name" ? /^shop\.default(:80)?$/ : /^10\.96\.0\.10(:80)?$/);
  }
}

async function ports(lab: MatrixLab, capture: Capture): Promise<void> {
  const open = await lab.told(capture, { by: "name", port: SHOP_PORTS.open, path: "/open" });
  assert.equal(open.url, "/open");
  const judges = deciding(lab);
  const lines = judges.map(({ log }) => log.length);
  assertRefused(await lab.get(capture, { by: "ip", port: SHOP_PORTS.closed, path: "/closed" }));
  await until("the refusal in a log", () =>
    judges.some(({ log }, index) =>
      log.slice(lines[index]).some((line) => line["code"] === "DENIED_BY_POLICY" && line["policy"] !== undefined),
    ),
  );
}

async function paths(lab: MatrixLab, capture: Capture): Promise<void> {
  const secret = await lab.get(capture, { by: "name", path: "/secret" });
  assert.equal(secret.code, 0, secret.stderr);
  assert.doesNotMatch(secret.stdout, /"app"/);
  const line = await accessOf(lab, "/secret");
  assert.deepEqual([line["response_code"], line["code"]], [403, "DENIED_BY_POLICY"]);
  assert.match(String(line["policy"]), /default\/secret/);
  assert.equal((await lab.told(capture, { by: "name", path: "/secrets" })).url, "/secrets");
}

async function routes(lab: MatrixLab, capture: Capture): Promise<void> {
  for (const [headers, index] of [
    [{}, 0],
    [{ "x-version": "v2" }, 1],
    [{ "x-version": "v3" }, 0],
  ] as const) {
    const { app } = await lab.told(capture, { by: "name", headers });
    assert.equal(app, lab.shops[index]?.host.address, JSON.stringify(headers));
  }
}

async function identities(lab: MatrixLab, capture: Capture): Promise<void> {
  const path = `/identity-${capture}`;
  const { rawHeaders, app } = await lab.told(capture, {
    by: "name",
    path,
    headers: { "x-forwarded-client-cert": "URI=spiffe://forged" },
  });
  const at = rawHeaders.findIndex((name) => name.toLowerCase() === "x-forwarded-client-cert");
  const shop = lab.shops.find(({ host }) => host.address === app);
  assert.ok(shop !== undefined);
  if (lab.architecture === "none") {
    assert.equal(rawHeaders[at + 1], "URI=spiffe://forged", "nobody reads, so nobody changes");
    await shop.proxy.access({ direction: "inbound", "src.identity": spiffeId("client") });
    return;
  }
  assert.match(
    rawHeaders[at + 1] ?? "",
    new RegExp(`^By=${spiffeId(lab.waypointAccount)};.*URI=${spiffeId("client")}$`),
  );
  const line = await accessOf(lab, path);
  assert.equal(line["src.identity"], spiffeId("client"));
  await shop.proxy.access({ direction: "inbound", "src.identity": spiffeId(lab.waypointAccount) });
  await lab.client.access({ direction: "outbound", "dst.identity": spiffeId(lab.waypointAccount) });
}

async function observation(lab: MatrixLab, capture: Capture): Promise<void> {
  const path = `/observed-${capture}`;
  const { app } = await lab.told(capture, { by: "ip", path });
  const out = await lab.client.access({ direction: "outbound", "dst.service": SHOP });
  assert.deepEqual([out["src.workload"], out["src.identity"]], ["client", spiffeId("client")]);
  const shop = lab.shops.find(({ host }) => host.address === app);
  assert.ok(shop !== undefined);
  const inbound = await shop.proxy.access({ direction: "inbound", "dst.workload": shop.name });
  assert.equal(inbound["dst.identity"], spiffeId("shop"));
  const source = await lab.asked(lab.clientHost, "127.0.0.1:15020", "/metrics");
  assert.match(
    source,
    /^istio_tcp_connections_opened_total\{(?=[^}]*reporter="source")(?=[^}]*source_workload="client")[^}]*destination_service="shop\.default\.svc\.cluster\.local"[^}]*\} [1-9]/m,
  );
  const server = await lab.asked(shop.host, "127.0.0.1:15020", "/metrics");
  assert.match(
    server,
    new RegExp(
      `^istio_tcp_connections_opened_total\\{(?=[^}]*reporter="destination")[^}]*destination_workload="${shop.name}"[^}]*\\} [1-9]`,
      "m",
    ),
  );
  if (lab.architecture === "none") return;
  const line = await accessOf(lab, path);
  assert.deepEqual([line["src.identity"], line["route"]], [spiffeId("client"), "default/shop"]);
  const metrics = await Promise.all(lab.instances.map((each) => lab.asked(each.host, each.metrics, "/metrics")));
  assert.match(
    metrics.join("\n"),
    /^istio_requests_total\{(?=[^}]*reporter="waypoint")(?=[^}]*source_principal="spiffe:\/\/cluster\.local\/ns\/default\/sa\/client")[^}]*destination_service="shop\.default\.svc\.cluster\.local"[^}]*\} [1-9]/m,
  );
}

async function place(lab: MatrixLab, capture: Capture): Promise<void> {
  for (let turn = 0; turn < 4; turn++) {
    const path = `/place-${capture}-${turn}`;
    const { app } = await lab.told(capture, { by: "name", path, headers: turn % 2 === 0 ? {} : { "x-version": "v2" } });
    const taken = await until(`who served ${path}`, () =>
      [...lab.instances, ...lab.elsewhere].find(({ proxy }) => proxy.log.some((line) => line["path"] === path)),
    );
    assert.ok(lab.instances.includes(taken), `${taken.name} is not what the placement says`);
    const inPod = lab.instances.find(({ host }) => host.address === app);
    // A rule that chooses another version leads out of the pod; one that does not stays in it.
    if (lab.architecture === "sidecar") assert.ok(inPod !== undefined);
  }
}

async function restart(lab: MatrixLab): Promise<void> {
  const { elsewhere, instances } = lab;
  await Promise.all(instances.map(({ proxy }) => proxy.program.stop()));
  for (const capture of CAPTURES) {
    if (elsewhere.length === 0) {
      assertRefused(await lab.get(capture, { by: "name", path: "/around" }));
    } else {
      const { rawHeaders } = await lab.told(capture, { by: "name", path: "/other-node" });
      assert.ok(
        rawHeaders.some((name) => /^x-forwarded-client-cert$/i.test(name)),
        "it went around the waypoint",
      );
    }
  }
  await Promise.all(instances.map((instance) => instance.start()));
  for (const capture of CAPTURES) {
    const path = `/back-${capture}`;
    await until("an answer through the new instance", async () => {
      const { code } = await lab.get(capture, { by: "name", path });
      return code === 0 && instances.some(({ proxy }) => proxy.log.some((line) => line["path"] === path));
    });
  }
}

async function rotation(lab: MatrixLab): Promise<void> {
  const state = { done: false, served: 0 };
  const callers = CAPTURES.map(async (capture) => {
    while (!state.done) {
      const { url } = await lab.told(capture, { by: "name", path: "/rotated" });
      assert.equal(url, "/rotated");
      state.served += 1;
    }
  });
  const calls = Promise.all(callers);
  // A failure must not be lost while something else is awaited.
  calls.catch(() => {});
  const [shop] = lab.shops;
  const [instance] = lab.instances;
  const programs = [
    { account: "client", host: lab.clientHost, admin: "127.0.0.1:15000" },
    ...(shop === undefined ? [] : [{ account: "shop", host: shop.host, admin: "127.0.0.1:15000" }]),
    ...(instance === undefined ? [] : [{ ...instance, account: lab.waypointAccount }]),
  ];
  try {
    for (const { account, host, admin } of programs) {
      const certificates = async (): Promise<string> => validity(await lab.asked(host, admin, "/certificates"));
      const old = await certificates();
      await lab.renew(account);
      await until(`the new certificate of ${account}`, async () => (await certificates()) !== old);
    }
    const { served } = state;
    await until("requests after the last change", () => state.served > served + CAPTURES.length);
  } finally {
    // Or they would go on for ever.
    state.done = true;
  }
  await calls;
}

async function explains(lab: MatrixLab): Promise<void> {
  const { clientHost, shops, instances } = lab;
  for (const to of ["shop:80", `${VIP}:80`]) {
    const text = await explained(lab, clientHost, "uproxy", "127.0.0.1:15000", ["--to", to]);
    assert.match(text, /is service default\/shop \(shop\.default\.svc\.cluster\.local\)$/m);
    const [places, account] =
      lab.architecture === "none" ? [shops, "shop"] : [[...instances, ...lab.elsewhere], lab.waypointAccount];
    for (const { name, host } of places) {
      assert.match(text, new RegExp(`default/${name} at ${host.address}:\\d+, .*expecting ${spiffeId(account)}$`, "m"));
    }
    if (lab.architecture === "none") assert.doesNotMatch(text, /waypoint/);
    else {
      assert.match(text, /goes through waypoint default\/waypoint$/m);
      const outcome = new RegExp(`^=> .* of waypoint default/waypoint \\(placement ${lab.architecture}\\)$`, "m");
      assert.match(text, outcome);
    }
  }
  for (const { host, admin } of instances) {
    const request = ["--request", "GET http://shop.default/", "--from", spiffeId("client"), "-H", "x-version: v2"];
    const text = await explained(lab, host, "waypoint", admin, request);
    assert.match(text, /^=> 100 % forwarded to default\/shop-v2:80/m);
  }
}

/** What a running program explains on its host. */
function explained(
  { lab }: MatrixLab,
  host: Host,
  program: "uproxy" | "waypoint",
  admin: string,
  question: readonly string[],
): Promise<string> {
  const { command, args } = commandLine(program, ["explain", "--admin", admin, ...question]);
  return lab.done(host, command, ...args);
}

/** Who decides about connections to the shop. */
function deciding(lab: MatrixLab): readonly Proxy[] {
  return lab.architecture === "none" ? lab.shops.map(({ proxy }) => proxy) : lab.instances.map(({ proxy }) => proxy);
}

/** The line of the waypoint about a request with a path that no other has. */
async function accessOf({ instances }: MatrixLab, path: string): Promise<LogLine> {
  return until(`the line about ${path}`, () =>
    instances
      .flatMap(({ proxy }: Instance) => proxy.log)
      .findLast((line) => line["target"] === "access" && line["path"] === path),
  );
}

/** What tells two certificates apart. */
function validity(certificates: string): string {
  const { certChain } = JSON.parse(certificates) as { certChain: readonly unknown[] };
  return JSON.stringify(certChain[0]);
}

/** Not an answer of the app, whatever way the client is told so. */
function assertRefused({ code, stdout }: Result): void {
  assert.notEqual(code, 0, stdout);
  assert.equal(stdout, "");
}
