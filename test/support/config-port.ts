// Machine. For tests: the configuration stream over the authority's real port, in this process, with limits of the test's and a clock that
// it moves.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { ConfigEvents } from "@culvert/authority/config-stream/config-events.ts";
import { ConfigStreams } from "@culvert/authority/config-stream/config-streams.ts";
import { Mesh } from "@culvert/authority/config-stream/mesh.ts";
import { readMesh } from "@culvert/authority/config-stream/mesh-files.ts";
import { AUTHORITY_LIMITS, type AuthorityLimits } from "@culvert/authority/authority-limits.ts";
import { AuthorityMetrics } from "@culvert/authority/observe/authority-metrics.ts";
import { DOMAIN, testPort } from "@culvert/authority/serve/port-fixtures.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { Log } from "@culvert/shared/observe/log.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { joinAs, sessionOf } from "./authority.ts";
import { until } from "./until.ts";

/** A Service of that name. */
export function service(name: string): string {
  return `---\napiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {selector: {app: ${name}}, ports: [{name: http, port: 80}]}\n`;
}

/** A workload of that name and account. */
export function workload(name: string, address: string): string {
  return `---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: ${address}, serviceAccount: ${name}, labels: {app: ${name}}}\n`;
}

/** An open port, and a mesh of `web` and `cart` behind it. */
export interface ConfigPort {
  readonly clock: FakeClock;
  readonly streams: ConfigStreams;
  readonly refused: readonly Failure[];
  /** A session of an account. */
  readonly session: (account: string) => Promise<ClientHttp2Session>;
  /** Writes the mesh's file, and tells whom it concerns. */
  readonly change: (text: string) => Promise<void>;
  /** Nobody is left, and nothing of anybody. */
  readonly empty: () => Promise<void>;
}

/** Opens it for a test, which closes it at its end. */
export async function configPort(context: TestContext, limits: Partial<AuthorityLimits> = {}): Promise<ConfigPort> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-config-limits-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const mesh = new Mesh();
  const refused: Failure[] = [];
  // PINGs are answered in real time, which the clock does not know.
  const session = { ...AUTHORITY_LIMITS.session, pingIntervalMs: 10 ** 9 };
  const all = { ...AUTHORITY_LIMITS, session, ...limits };
  const made: ConfigStreams[] = [];
  const port = await testPort(context, {
    limits: all,
    config: (clock) => {
      const facts = { sessions: () => 0, watchers: () => 0, trustVersion: none };
      const metrics = new AuthorityMetrics(new Metrics({ clock }), {
        ...facts,
        configClients: none,
        configDocuments: none,
        issuerNotAfter: none,
      });
      const log = new Log({ level: "warn", write: () => undefined, clock });
      const events = new ConfigEvents({ log, metrics, onFailure: (failure) => void refused.push(failure) });
      const source = { mesh, isUsable: true };
      const streams = new ConfigStreams({ trustDomain: () => DOMAIN, source, limits: all, clock, events });
      made.push(streams);
      return streams;
    },
  });
  const [streams] = made;
  assert.ok(streams !== undefined);
  const change = async (text: string): Promise<void> => {
    writeFileSync(join(folder, "mesh.yaml"), text);
    const state = await readMesh(folder, new Map(), () => 0);
    assert.ok("files" in state);
    const changed = mesh.use(state.files);
    assert.ok("ids" in changed);
    await streams.changed(changed);
  };
  await change(workload("web", "10.0.0.1") + service("web") + workload("cart", "10.0.0.2") + service("cart"));
  const timers = port.clock.pending;
  return {
    clock: port.clock,
    streams,
    refused,
    change,
    session: async (account) => {
      const opened = await sessionOf(port, await joinAs(port, await port.token(account), 86_400n));
      context.after(() => opened.destroy());
      return opened;
    },
    empty: async () => {
      await until("nobody to be left", () => streams.size === 0 && streams.scopes === 0);
      // Deadlines of many calls share a timer, which outlives them.
      await until("no timer to be left", () => {
        port.clock.advance(1_000);
        return port.clock.pending === timers;
      });
    },
  };
}

function none(): undefined {}
