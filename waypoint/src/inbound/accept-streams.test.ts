import assert from "node:assert/strict";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { after, before, beforeEach, describe, test } from "node:test";
import type { StreamRoute } from "@culvert/shared/config/stream-route.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { route, routeBackend, routeParent, routeRule, streamRoute } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { until, within } from "@culvert/test/support/until.ts";
import { service, servicePort, type MeshParts } from "../mesh-fixtures.ts";
import { Bench, httpApp, readAll } from "../waypoint-fixtures.ts";
import { helloMessage, inRecords } from "./client-hello-fixtures.ts";

const TCP = servicePort({ name: "tcp", port: 7000, targetPort: 7000, appProtocol: "tcp" });
const ANY = servicePort({ name: "any", port: 7001, targetPort: 7001, appProtocol: "unspecified" });
const H2 = servicePort({ name: "h2", port: 7002, targetPort: 7002, appProtocol: "http2" });

/** Speaks first, then says what it was told. */
function greet(connection: Duplex): void {
  connection.on("error", () => {});
  connection.write("220 hello\r\n");
  connection.on("data", (chunk: Buffer) => void connection.end(`you said ${chunk.toString()}`));
}

describe("connections that routes lead", () => {
  const bench = new Bench();
  let workloads: MeshParts["workloads"];

  const mesh = (more: Partial<MeshParts> = {}): MeshParts => ({
    services: [
      service("default/reviews", { ports: [servicePort(), H2] }),
      service("default/db", { ports: [TCP, ANY] }),
      service("default/mail", { ports: [TCP] }),
    ],
    ...(workloads === undefined ? {} : { workloads }),
    ...more,
  });

  before(async () => {
    workloads = [
      await bench.app(
        "reviews-1",
        httpApp((_request, response) => response.end("reviews")),
      ),
      await bench.app("db-1", (connection) => connection.end("db")),
      await bench.app("mail-1", greet),
    ];
    await bench.use(mesh());
    await bench.start();
  });
  beforeEach(() => bench.use(mesh()));
  after(() => bench.stop());

  async function refused(authority: string): Promise<Failure> {
    const result = await bench.open(authority);
    assert.ok(isFailure(result), `${authority} was accepted`);
    return result;
  }

  function line(fields: Record<string, unknown>): Promise<Record<string, unknown>> {
    return until(`a line with ${JSON.stringify(fields)}`, () =>
      bench.lines.find((each) => Object.entries(fields).every(([key, value]) => each[key] === value)),
    );
  }

  test("a TCPRoute leads connections to its backend, be HTTP or nothing declared, and routes of HTTP go before it", async () => {
    const parents = [routeParent("db"), routeParent("reviews")];
    const routed = streamRoute("stream", [routeBackend("mail", 7000)], { parents });
    await bench.use(mesh({ streamRoutes: [routed] }));
    for (const authority of ["db:7000", "db:7001", "reviews:9080", "reviews:7002"]) {
      const connection = must(await bench.open(authority));
      connection.end("bye");
      assert.equal(await within("the answer", readAll(connection)), "220 hello\r\nyou said bye", authority);
    }
    const told = await line({ route: "default/stream", rule: "rules[0]" });
    assert.equal(told["dst.workload"], "mail-1");
    const http = route("h", {
      parents: [routeParent("reviews")],
      rules: [routeRule({ backends: [routeBackend("reviews", 9080)] })],
    });
    await bench.use(mesh({ streamRoutes: [routed], routes: [http] }));
    assert.equal((await bench.ask("reviews:9080", "/")).status, 200);
  });

  test("a TCPRoute that leads nowhere, or is not understood, refuses its connections", async () => {
    const parents = [routeParent("db", { port: 7000 })];
    const cases: readonly (readonly [StreamRoute, RegExp])[] = [
      [streamRoute("r", [routeBackend("gone", 7000)], { parents }), /500 BACKEND_INVALID/],
      [streamRoute("r", [routeBackend("db", 7000, { weight: 0 })], { parents }), /500 BACKEND_INVALID/],
      [streamRoute("r", [], { parents, notUnderstood: "spec.rules" }), /500 ROUTE_NOT_UNDERSTOOD/],
    ];
    for (const [routed, expected] of cases) {
      await bench.use(mesh({ streamRoutes: [routed] }));
      assert.match((await refused("db:7000")).detail, expected);
      must(await bench.open("db:7001")).destroy();
    }
  });

  test("a TLSRoute leads by the server name, however the ClientHello comes; what is none is refused", async () => {
    const parents = [routeParent("db")];
    const toMail = streamRoute("m", [routeBackend("mail", 7000)], {
      kind: "TLSRoute",
      parents,
      hostnames: ["*.example.com"],
    });
    await bench.use(mesh({ streamRoutes: [toMail] }));
    for (const port of [7000, 7001]) {
      const connection = must(await bench.open(`db:${port}`));
      const hello = inRecords(helloMessage(), 60);
      for (const byte of hello) connection.write(Buffer.from([byte]));
      const answer = await within("the answer", readAll(connection));
      assert.ok(answer.startsWith("220 hello\r\nyou said \u0016\u0003\u0001"), JSON.stringify(answer));
      connection.end();
    }
    await line({ route: "default/m", requested_server_name: "shop.example.com", "dst.workload": "mail-1" });
    const other = must(await bench.open("db:7000"));
    const otherEnd = once(other, "error");
    other.write(inRecords(helloMessage({ extensions: [] })));
    await within("the refusal", otherEnd);
    await line({ code: "ROUTE_NOT_FOUND", "dst.service": "db.default.svc.cluster.local" });
    const plain = must(await bench.open("db:7000"));
    const plainEnd = once(plain, "error");
    plain.write("EHLO there\r\n");
    await within("the refusal", plainEnd);
    await line({ code: "CLIENT_HELLO_REFUSED" });
    const short = must(await bench.open("db:7000"));
    const shortEnd = once(short, "error");
    short.end(inRecords(helloMessage()).subarray(0, 20));
    await within("the refusal", shortEnd);
    await until("both refusals", () => bench.lines.filter(({ code }) => code === "CLIENT_HELLO_REFUSED").length === 2);
  });
});
