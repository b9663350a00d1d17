// uproxies that have their identities from a SPIFFE Workload API, made of go-spiffe's own server code: rotation under load, an agent that
// comes late, goes, fails and denies, and federated trust domains that come and go.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { echo, startTcpApp } from "../support/apps.ts";
import { rotationSeconds } from "../support/env.ts";
import { ask } from "../support/http.ts";
import { spiffeId } from "../support/identities.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { SPIFFE_PEER, startAgent, type Agent } from "../support/spiffe-peer.ts";
import { converse } from "../support/tcp.ts";
import { until } from "../support/until.ts";

const ECHO = 7001;
const TO_FOREIGN = 7002;
const CLIENTS = 4;
const FOREIGN = "spiffe://foreign.test/ns/default/sa/foreign";

function count({ log }: Proxy, message: string): number {
  return log.filter((line) => line["message"] === message).length;
}

/** How often a proxy has taken a new certificate into use. */
function changes(proxy: Proxy): number {
  return count(proxy, "identity changed");
}

describe("identities from a SPIFFE Workload API", needs({ commands: [SPIFFE_PEER] }), () => {
  let mesh: Mesh;
  let agent: Agent;
  let client: Proxy;
  let app: Proxy;
  let folder: string;
  let socket: Readonly<Record<"client" | "app" | "late" | "foreign", string>>;
  let addresses: Readonly<Record<"client" | "app" | "late" | "foreign", string>>;

  const identity = (name: keyof typeof socket): Readonly<Record<string, unknown>> => ({
    identity: { workloadApi: `unix://${socket[name]}` },
  });

  before(async () => {
    // So that each certificate is shown to the peer before the next one comes.
    const common = { limits: { rotationDrain: "1s" }, log: { level: "debug", access: "failures" } };
    // A short path: the address of a UNIX socket holds no more than 107 bytes.
    folder = mkdtempSync(join(tmpdir(), "culvert-wl-"));
    const at = (name: string): string => join(folder, `${name}.sock`);
    socket = { client: at("client"), app: at("app"), late: at("late"), foreign: at("foreign") };
    agent = await startAgent(at("control"), {
      [socket.client]: [spiffeId("decoy"), `${spiffeId("client")}#mesh`],
      [socket.app]: [spiffeId("app"), `${spiffeId("decoy")}#internal`],
      [socket.late]: [spiffeId("late")],
      [socket.foreign]: [FOREIGN],
    });
    mesh = await startMesh();
    addresses = { client: mesh.address(), app: mesh.address(), late: mesh.address(), foreign: mesh.address() };
    mesh.write("mesh", [
      workloadEntry("client", addresses.client, { serviceAccount: "client" }),
      workloadEntry("late", addresses.late, { serviceAccount: "late" }),
      service("app", [{ name: "tcp", port: ECHO }]),
      workloadEntry("app", addresses.app, { serviceAccount: "app" }),
      service("foreign", [{ name: "tcp", port: ECHO }]),
      workloadEntry("foreign", addresses.foreign, {
        serviceAccount: "foreign",
        annotations: { "culvert.dev/trust-domain": "foreign.test" },
      }),
    ]);
    await mesh.with(startTcpApp(addresses.app, ECHO, echo));
    await mesh.with(startTcpApp(addresses.foreign, ECHO, echo));
    app = await mesh.uproxy({ name: "app", address: addresses.app, config: { ...identity("app"), ...common } });
    client = await mesh.uproxy({
      name: "client",
      address: addresses.client,
      listeners: [
        { listen: hostPort(mesh.inside(addresses.client), ECHO), to: `app:${ECHO}` },
        { listen: hostPort(mesh.inside(addresses.client), TO_FOREIGN), to: `foreign:${ECHO}` },
      ],
      config: { identity: { workloadApi: { socket: `unix://${socket.client}`, hint: "mesh" } }, ...common },
    });
  });

  after(async () => {
    await mesh.stop();
    await agent.program.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** New connections one after another while `work` goes on; none may fail. Returns how many there were. */
  async function underLoad(work: (done: () => number) => Promise<unknown>): Promise<number> {
    const failures: string[] = [];
    let done = 0;
    const over = new AbortController();
    const clients = Array.from({ length: CLIENTS }, async () => {
      while (!over.signal.aborted) {
        const text = `connection ${done}`;
        const { received, ended } = await converse(client.inside, ECHO, text);
        done += 1;
        if (String(received) !== text || ended !== "end")
          failures.push(`${text}: ${ended} after "${String(received)}"`);
      }
    });
    try {
      await work(() => done);
    } finally {
      over.abort();
      await Promise.all(clients);
    }
    assert.deepEqual(failures, []);
    return done;
  }

  test("the SVID with the hint, or the first; with the header on every call", async () => {
    const { received } = await converse(client.inside, ECHO, "hello");
    assert.equal(String(received), "hello");
    await app.logged({ message: "session-opened", peer: spiffeId("client") });
    for (const each of Object.values(socket)) assert.equal((await agent.status(each)).bare, 0);
    const { body } = await ask(`http://${client.admin}/certificates`);
    assert.match(body, /workloadApi: /);
  });

  const timeout = (rotationSeconds() + 60) * 1_000;
  test("new certificates every two seconds, under new connections: none fails", { timeout }, async (t) => {
    const rotated = changes(client);
    await agent.rotateEvery("2s");
    const done = await underLoad(() => pause(rotationSeconds() * 1_000));
    await agent.rotateEvery("1h");
    const times = changes(client) - rotated;
    t.diagnostic(`${done} connections, ${times} rotations`);
    assert.ok(times >= Math.floor(rotationSeconds() / 2) - 1, `${times} rotations`);
    assert.ok(done > 10 * times);
    const sessions = count(client, "session-opened");
    assert.ok(sessions > times / 2, `${sessions} sessions`);
    assert.deepEqual(
      [client, app].flatMap(({ log }) => log.filter(({ code }) => code !== undefined)),
      [],
    );
  });

  test("from one root to another, step by step, under new connections: none fails", async () => {
    const taken = async (step: "add" | "activate" | "remove"): Promise<void> => {
      const [ofClient, ofApp] = [changes(client), changes(app)];
      await agent.root(step, "cluster.local");
      await until(step, () => changes(client) > ofClient && changes(app) > ofApp);
    };
    const roots = async (): Promise<string> => (await ask(`http://${client.admin}/certificates`)).body;
    const old = await roots();
    await underLoad(async (done) => {
      await taken("add");
      const opened = count(client, "session-opened");
      await taken("activate");
      await until("the end of sessions of old certificates", () => count(client, "session-ended") >= opened);
      await taken("remove");
      const soFar = done();
      await until("connections without the old root", () => done() > soFar + 100);
    });
    assert.notEqual(await roots(), old);
    assert.deepEqual(
      [client, app].flatMap(({ log }) => log.filter(({ code }) => code !== undefined)),
      [],
    );
  });

  test("an agent that ends its streams, is started anew or denies us: none fails, and what comes after is taken", async () => {
    const rotated = { client: changes(client), app: changes(app) };
    await underLoad(async () => {
      for (const each of [socket.client, socket.app]) {
        const { calls } = await agent.status(each);
        await agent.tell("error", each);
        await until("a call after the error", async () => (await agent.status(each)).calls > calls);
        await agent.tell("stop", each);
      }
      await client.logged({ message: "identity kept", code: "IDENTITY_NOT_GIVEN" });
      await agent.tell("start", socket.client);
      await agent.tell("start", socket.app);
      for (const each of [socket.client, socket.app]) {
        await until("a stream after the start", async () => (await agent.status(each)).streams === 1);
        const { calls } = await agent.status(each);
        await agent.tell("deny", each);
        await until("two calls after the denial", async () => (await agent.status(each)).calls > calls + 1);
      }
      await until("word of the denial", () =>
        client.log.some(({ error }) => String(error).includes("PERMISSION_DENIED")),
      );
      await agent.rotateEvery("1s");
      await agent.tell("grant", socket.client);
      await agent.tell("grant", socket.app);
      await until("new certificates", () => changes(client) > rotated.client && changes(app) > rotated.app);
      await agent.rotateEvery("1h");
    });
  });

  test("an agent that comes late and does not know us at first is waited for, not ready, and told why", async () => {
    await agent.tell("stop", socket.late);
    const began = systemClock.monotonic();
    const starting = mesh.uproxy({ name: "late", address: addresses.late, config: identity("late") });
    const readiness = `http://${hostPort(addresses.late, PORTS.readiness)}/healthz/ready`;
    await until("the probe", async () => (await ask(readiness)).status === 503);
    assert.match((await ask(readiness)).body, /identity/);
    await agent.tell("deny", socket.late);
    await agent.tell("start", socket.late);
    await until("calls that are denied", async () => (await agent.status(socket.late)).calls > 1);
    assert.equal((await ask(readiness)).status, 503);
    await agent.tell("grant", socket.late);
    const late = await starting;
    const awaited = late.log.filter(({ message }) => message === "identity awaited").map(({ error }) => String(error));
    assert.match(awaited[0] ?? "", /ENOENT/);
    assert.match(awaited[1] ?? "", /PERMISSION_DENIED: no identity issued/);
    assert.equal(awaited.length, 2);
    assert.ok(systemClock.monotonic() - began < 30_000);
  });

  test("a federated trust domain is trusted once its bundle has come, and no longer than it stays", async () => {
    await mesh.uproxy({ name: "foreign", address: addresses.foreign, config: identity("foreign") });
    const reaches = async (): Promise<boolean> =>
      String((await converse(client.inside, TO_FOREIGN, "hello")).received) === "hello";
    assert.equal(await reaches(), false);
    await client.access({ code: "IDENTITY_UNTRUSTED", "dst.workload": "foreign" });
    await agent.tell("federate", socket.client, "foreign.test");
    await agent.tell("federate", socket.foreign, "cluster.local");
    await until("the foreign workload", reaches);
    await agent.tell("forget", socket.client, "foreign.test");
    await until("no way to the foreign workload", async () => !(await reaches()));
    assert.equal(String((await converse(client.inside, ECHO, "ours")).received), "ours");
  });
});
