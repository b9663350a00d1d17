// What a source hears of trust from the authority's own port, in this process, on a clock that is moved.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { DOMAIN, testPort, type TestPort } from "@culvert/authority/serve/port-fixtures.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import type { Bundle, IdentityEvent, ReloadableSource } from "@culvert/shared/identity/source.ts";
import { openAuthority } from "@culvert/shared/identity/sources/open-authority.ts";
import { trustStateOf } from "@culvert/shared/identity/sources/trust-stream.ts";
import { encodeMessage } from "@culvert/shared/grpc/message.ts";
import { mint, testAuthority, type TestAuthority } from "../support/ca.ts";
import { must } from "../support/must.ts";
import { until } from "../support/until.ts";

interface Place {
  readonly port: TestPort;
  readonly source: ReloadableSource;
  readonly events: IdentityEvent[];
  readonly codes: () => string[];
}

async function place(context: TestContext): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-identity-trust-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const port = await testPort(context);
  const [token, bundle] = [join(folder, "token"), join(folder, "root.pem")];
  writeFileSync(token, await port.token("reviews"));
  writeFileSync(bundle, port.root);
  const events: IdentityEvent[] = [];
  const source = must(
    await openAuthority({
      address: { host: "127.0.0.1", port: port.port, bundle, serverName: "authority" },
      token,
      store: undefined,
      lifeMs: 3_600_000,
      clock: port.clock,
      onEvent: (event) => void events.push(event),
    }),
  );
  context.after(() => source.close());
  await until("the stream", () => port.watchers.size === 1);
  const codes = (): string[] => events.flatMap((event) => ("failure" in event ? [event.failure.code] : []));
  return { port, source, events, codes };
}

const bundleOf = (authority: TestAuthority): Bundle => must(bundleFromPem(authority.trustDomain, authority.bundlePem));

function domains(source: ReloadableSource): string[] {
  return [...source.get().bundles.keys()].toSorted();
}

test("bundles come and go as the authority says, at once, and outlive a renewal and its new stream", async (context) => {
  const { port, source, events } = await place(context);
  const other = await testAuthority("other.test");
  const own = must(port.state.trust().bundles.get(DOMAIN));
  const told: string[][] = [];
  source.onChange(({ bundles }) => told.push([...bundles.keys()].toSorted()));
  port.state.change({
    trust: {
      bundles: new Map([
        [DOMAIN, own],
        [other.trustDomain, bundleOf(other)],
      ]),
    },
  });
  await until("the other domain", () => domains(source).length === 2);
  const before = source.get().svid;
  await source.reload();
  assert.notEqual(source.get().svid, before);
  assert.deepEqual(domains(source), ["cluster.local", "other.test"]);
  // The stream is the new certificate's now; what changes next is heard there.
  await until("one stream", () => port.watchers.size === 1);
  port.state.change({ trust: { bundles: new Map([[DOMAIN, own]]) } });
  await until("the end of the other domain", () => domains(source).length === 1);
  assert.deepEqual(told.at(-1), ["cluster.local"]);
  assert.deepEqual(
    events.filter((event) => "failure" in event),
    [],
  );
});

test("without the authority the last word counts, and it is asked again until it is there", async (context) => {
  const { port, source, codes } = await place(context);
  const identity = source.get();
  port.watchers.drain();
  await until("the end of the stream", () => codes().includes("IDENTITY_NOT_GIVEN"));
  assert.equal(source.get(), identity);
  await until("the next stream", () => {
    port.clock.advance(1_000);
    return port.watchers.size === 1 || codes().length > 2;
  });
  assert.equal(source.get().svid, identity.svid);
});

test("a CA of another trust domain cannot pass for the authority", async (context) => {
  const { port, source, codes } = await place(context);
  const other = await testAuthority("other.test");
  const own = must(port.state.trust().bundles.get(DOMAIN));
  port.state.change({
    trust: {
      bundles: new Map([
        [DOMAIN, own],
        [other.trustDomain, bundleOf(other)],
      ]),
    },
  });
  await until("the other domain", () => domains(source).length === 2);
  const before = source.get();
  // It answers in the authority's place, under its name, with a certificate of a root that we trust for names of its own domain.
  port.watchers.drain();
  await port.listener.close();
  const impostor = await mint(other.intermediate, { dns: ["authority"] });
  const server = createSecureServer({ cert: impostor.chainPem, key: impostor.keyPem });
  let sessions = 0;
  server.on("session", () => (sessions += 1));
  server.listen(port.port, "127.0.0.1");
  await once(server, "listening");
  assert.equal((server.address() as AddressInfo).port, port.port);
  context.after(() => void server.close());
  const failures = codes().length;
  await source.reload();
  assert(codes().length > failures);
  assert.equal(source.get(), before);
  assert.match(source.state.lastFailure?.detail ?? "", /UNAVAILABLE: unable to (verify|get local issuer)/);
  assert.equal(sessions, 0, "no HTTP/2 was spoken with it");
});

/** A bundle in a message of trust. */
function entry(name: string, der: Uint8Array): Buffer {
  return encodeMessage([
    [1, name],
    [2, der],
  ]);
}

test("a message of which anything is unfit counts for nothing", async () => {
  const ours = await testAuthority("ours.test");
  const root = Buffer.from(ours.root.certificate.rawData);
  const good = must(trustStateOf(encodeMessage([[2, entry("ours.test", root)]])));
  assert.deepEqual([...good.bundles.keys()], ["ours.test"]);
  const unfit: readonly Buffer[] = [
    Buffer.from("garbage"),
    encodeMessage([[2, Buffer.from("garbage")]]),
    encodeMessage([[2, entry("Ours.Test", root)]]),
    encodeMessage([
      [2, entry("ours.test", root)],
      [2, entry("other.test", Buffer.from("garbage"))],
    ]),
    encodeMessage([[2, entry("ours.test", Buffer.alloc(0))]]),
    encodeMessage([
      [2, entry("ours.test", root)],
      [3, Buffer.from("garbage")],
    ]),
    encodeMessage(Array.from({ length: 300 }, (_, at) => [2, entry(`d${at}.test`, root)] as const)),
  ];
  for (const [at, message] of unfit.entries()) {
    const state = trustStateOf(message);
    assert(isFailure(state), `message ${at}`);
    assert.equal(state.code, "IDENTITY_MALFORMED");
  }
});
