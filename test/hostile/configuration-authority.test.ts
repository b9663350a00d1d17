// Hostile, rows C1, C4 and F22 with real programs: two uproxies and a waypoint under traffic whose authority was broken into, or in whose
// authority's place somebody else answers. What is pushed is refused with its field or ends the stream, what is in use stays, no
// connection fails, whoever is not the authority is told nothing, and the true one is followed again. It is one thing, for all of it
// happens to one mesh.
import assert from "node:assert/strict";
import { createServer, type AddressInfo } from "node:net";
import { kill } from "node:process";
import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { after, before, describe, test } from "node:test";
import { stringify } from "yaml";
import { documents, entry, type FakeStream } from "@culvert/shared/config/stream/stream-fixtures.ts";
import { mint, mintSvid, testAuthority, type Minted } from "../support/ca.ts";
import { sourceOf, type ConfigAuthority } from "../support/config-authority.ts";
import { HostileAuthority, startImpostor, type Shown } from "../support/hostile-authority.ts";
import { ask } from "../support/http.ts";
import { spiffeId } from "../support/identities.ts";
import type { Mesh, Proxy } from "../support/mesh.ts";
import { REFUSED_UPDATES, regularExpressions, UNFIT_UPDATES } from "../support/poisoned-updates.ts";
import { memory } from "../support/proc.ts";
import { workloadEntry } from "../support/resources.ts";
import { DEADLINE_MS, startStreamedMesh, type StreamedMesh } from "../support/streamed-mesh.ts";
import { until } from "../support/until.ts";

/** What a proxy may hold after all of it, more than before, MiB. */
const MOST_MORE_MIB = 96;
/** And when: under traffic what is garbage is given back once a minute. */
const GIVEN_BACK_MS = 120_000;

let streamed: StreamedMesh;
let mesh: Mesh;
let authority: ConfigAuthority;
let issuer: Awaited<ReturnType<ConfigAuthority["issuer"]>>;
let client: Proxy;
let app: Proxy;
let through: Proxy;
const host = (): string => authority.address.split(":")[0] ?? "";
const port = (): number => Number(authority.address.split(":")[1]);

before(async () => {
  // The traffic would fill the log with a line for each connection.
  streamed = await startStreamedMesh({ config: { log: { access: "failures" } } });
  ({ mesh, authority, client, app, through } = streamed);
  issuer = await authority.issuer();
});

after(() => streamed.stop());

/** The authority's own certificate, as whoever broke into it has it. */
async function genuine(): Promise<Minted> {
  return mint(issuer, { ips: [host()], uris: ["spiffe://cluster.local/culvert/authority"] });
}

/** Begins a stream at once, and not when the next try is due. */
function hasten(proxy: Proxy): void {
  kill(proxy.program.pid, "SIGHUP");
}

/** The true authority serves again, and what it says now is followed. */
async function recovered(mark: string): Promise<void> {
  await authority.start();
  mesh.write("mark", [workloadEntry(mark, "10.99.9.9", { serviceAccount: "app", app: "app" })]);
  for (const proxy of [client, through]) hasten(proxy);
  for (const proxy of [client, through]) {
    await until(
      `${proxy.name} to follow`,
      async () => (await ask(`http://${proxy.admin}/config_dump`)).body.includes(`default/${mark}`),
      DEADLINE_MS,
    );
    assert.deepEqual((await sourceOf(proxy)).stream.problems, []);
  }
  await streamed.unharmed();
}

/** The service account of a proxy. */
function accountOf(proxy: Proxy): string {
  return proxy === through ? "waypoint" : proxy.name;
}

/** Shows who answers to the client until it has called and gone; what it says of that then. */
async function shown(what: Shown, why: RegExp): Promise<void> {
  const impostor = await startImpostor(host(), port(), what);
  try {
    hasten(client);
    await until("it to have called and gone", () => impostor.ended > 1, DEADLINE_MS);
    assert.equal(impostor.heard, 0, "bytes of whatever it was told");
  } finally {
    await impostor.stop();
  }
  await client.program.watch(`a line like ${why}`, () =>
    client.log.some((line) => line["message"] === "no configuration stream" && why.test(String(line["error"]))),
  );
  assert.equal((await sourceOf(client)).stream.connected, false);
  await streamed.unharmed();
}

describe("an authority that was broken into", () => {
  let hostile: HostileAuthority;
  const streams = new Map<Proxy, FakeStream>();
  const held = new Map<Proxy, number>();

  before(async () => {
    for (const proxy of [client, through, app]) held.set(proxy, memory(proxy.program.pid).anon);
    await authority.stop();
    hostile = await HostileAuthority.start(host(), port(), await genuine());
    for (const proxy of [client, through, app]) {
      const stream = await hostile.streamOf(spiffeId(accountOf(proxy)));
      streams.set(proxy, stream);
      assert.ok(stream.hello.have.size > 0, "what was in use is there still");
      const outcome = await stream.outcome(
        stream.say({ set: documents(streamed.resources.map((one) => stringify(one)).join("---\n")) }),
      );
      assert.equal(outcome.kind, "ack");
    }
  });

  after(async () => {
    await hostile.stop();
    await recovered("after-poison");
    for (const [proxy, anon] of held) {
      await until(
        `${proxy.name} to hold ${anon.toFixed(0)} MiB and not much more`,
        () => memory(proxy.program.pid).anon < anon + MOST_MORE_MIB,
        GIVEN_BACK_MS,
      );
    }
  });

  function current(proxy: Proxy): FakeStream {
    const stream = streams.get(proxy);
    assert.ok(stream !== undefined);
    return stream;
  }

  /** A good update is taken, on the stream of now. */
  async function followed(proxy: Proxy): Promise<void> {
    const stream = current(proxy);
    assert.ok(stream.hello.have.size >= 5, `${stream.hello.have.size} documents are held`);
    const nonce = stream.say({ set: documents(entry("good", `10.99.0.${1 + Math.floor(Math.random() * 250)}`)) });
    assert.equal((await stream.outcome(nonce)).kind, "ack");
    assert.deepEqual((await sourceOf(proxy)).stream.problems, []);
  }

  for (const [name, set, resource, path, text] of REFUSED_UPDATES) {
    test(`${name}: refused with its field`, async () => {
      const poison = set();
      await Promise.all(
        [client, through].map(async (proxy) => {
          const stream = current(proxy);
          const { refused } = (await sourceOf(proxy)).stream;
          const outcome = await stream.outcome(stream.say({ set: poison }));
          assert.ok(outcome.kind === "nack", proxy.name);
          const [first] = outcome.problems;
          assert.deepEqual([first?.resource, first?.path], [resource, path]);
          assert.match(first?.text ?? "", text);
          const now = (await sourceOf(proxy)).stream;
          assert.equal(now.refused, refused + 1);
          assert.deepEqual([now.problems[0]?.resource, now.problems[0]?.path], [resource, path]);
          const { body } = await ask(`http://${proxy.address}:${proxy.ports.metrics}/metrics`);
          assert.match(
            body,
            new RegExp(`^culvert_configuration_updates_total\\{result="refused"\\} ${now.refused}$`, "m"),
          );
          await proxy.program.watch("the field in its log", () =>
            proxy.program.output.some((line) => line.includes('"resource error"') && line.includes(path)),
          );
          await followed(proxy);
        }),
      );
      await streamed.unharmed();
    });
  }

  test("a megabyte of regular expressions fails closed in the waypoint, and a uproxy does not read it", async () => {
    for (const proxy of [client, through]) {
      const stream = current(proxy);
      assert.equal((await stream.outcome(stream.say({ set: regularExpressions() }))).kind, "ack");
      await followed(proxy);
    }
    const { body } = await ask(`http://${through.admin}/config_dump`);
    assert.match(body, /spec\.rules.{1,80}expected at most 16 entries/);
    await streamed.unharmed();
  });

  for (const [name, messages, why] of UNFIT_UPDATES) {
    test(`${name}: ends the stream`, async () => {
      await Promise.all(
        [client, through].map(async (proxy) => {
          const stream = current(proxy);
          const lines = proxy.log.length;
          stream.raw(...messages(stream.lastNonce + 1));
          await until(
            "why the stream has ended",
            () =>
              proxy.log
                .slice(lines)
                .some((line) => line["message"] === "no configuration stream" && why.test(String(line["error"]))),
            DEADLINE_MS,
          );
          streams.set(proxy, await hostile.streamOf(spiffeId(accountOf(proxy)), stream));
          await followed(proxy);
        }),
      );
      await streamed.unharmed();
    });
  }
});

describe("somebody in the authority's place", () => {
  before(() => authority.stop());
  after(() => recovered("after-impostors"));

  const who: readonly (readonly [what: string, shows: () => Promise<Shown>, why: RegExp])[] = [
    [
      "an expired certificate of its own",
      async () => mint(issuer, { ips: [host()], notAfter: new Date(Date.now() - 1_000) }),
      /certificate has expired/,
    ],
    [
      "a certificate for another name",
      async () => mint(issuer, { dns: ["elsewhere.mesh"] }),
      /altnames|does not match|not in the cert/,
    ],
    [
      "the certificate of a workload of the mesh",
      async () => mint(issuer, { uris: [spiffeId("app")] }),
      /altnames|does not match|not in the cert/,
    ],
    [
      "a certificate of the same trust domain's name under another root",
      async () =>
        mint((await testAuthority("cluster.local")).intermediate, {
          ips: [host()],
          uris: ["spiffe://cluster.local/culvert/authority"],
        }),
      /unable to (?:verify|get)|self-signed/,
    ],
    [
      "a certificate of another trust domain",
      async () =>
        mintSvid(await testAuthority("other.test"), "spiffe://other.test/culvert/authority", { ips: [host()] }),
      /unable to (?:verify|get)|self-signed/,
    ],
  ];
  for (const [what, shows, why] of who) {
    test(`${what} is told nothing`, async () => shown(await shows(), why));
  }

  test("an answer that sends elsewhere is followed nowhere", async () => {
    let accepted = 0;
    const elsewhere = createServer((socket) => {
      accepted += 1;
      socket.destroy();
    });
    await new Promise<void>((resolve) => void elsewhere.listen(0, host(), resolve));
    const place = `${host()}:${(elsewhere.address() as AddressInfo).port}`;
    const moved = {
      location: `https://${place}/culvert.config.v1.ConfigService/Stream`,
      "alt-svc": `h2="${place}"; ma=86400`,
    };
    const says: readonly (readonly [(stream: ServerHttp2Stream) => void, RegExp])[] = [
      [(stream) => stream.respond({ ":status": 307, ...moved }, { endStream: true }), /HTTP status 307/],
      [
        (stream) => stream.respond({ ":status": 200, "content-type": "text/html", ...moved }, { endStream: true }),
        /content type text\/html/,
      ],
      [
        (stream) => {
          (stream.session as ServerHttp2Session | undefined)?.altsvc(
            `h2="${place}"; ma=86400`,
            `https://${authority.address}`,
          );
          stream.session?.goaway(0, 0);
          stream.session?.close();
          stream.close(0);
        },
        /going away|ended without a status|connection was closed/,
      ],
    ];
    for (const [say, why] of says) {
      const lines = client.log.length;
      let streams = 0;
      const hostile = await HostileAuthority.start(host(), port(), await genuine(), (stream) => {
        stream.on("error", () => undefined);
        streams += 1;
        say(stream);
      });
      hasten(client);
      await until(
        `a line like ${why}`,
        () =>
          client.log
            .slice(lines)
            .some((line) => line["message"] === "no configuration stream" && why.test(String(line["error"]))),
        DEADLINE_MS,
      );
      assert.ok(streams > 0);
      assert.equal((await sourceOf(client)).stream.connected, false);
      await hostile.stop();
    }
    assert.equal(accepted, 0);
    await new Promise<void>((resolve) => void elsewhere.close(() => resolve()));
    await streamed.unharmed();
  });
});
