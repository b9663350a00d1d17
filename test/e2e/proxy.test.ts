// The proxy port as apps use it: HTTP CONNECT and SOCKS5 on one port, with curl, and what they are told when it does not work.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { startHttpApp, startTcpApp, echo, type Echoed } from "../support/apps.ts";
import { command } from "../support/env.ts";
import { startMesh, PORTS, type Mesh, type Proxy } from "../support/mesh.ts";
import { needs } from "../support/needs.ts";
import { run, type Result } from "../support/process.ts";
import { authorizationPolicy, service, workloadEntry } from "../support/resources.ts";
import { attempt, dial } from "../support/tcp.ts";

const HTTP = 8080;
const ECHO = 7001;
const CLOSED = 7004;

function curl(...args: readonly string[]): Promise<Result> {
  return run(command("curl"), ["--silent", "--show-error", "--max-time", "10", "--noproxy", "", ...args]);
}

function connect(proxy: Proxy): string[] {
  return ["--proxytunnel", "--proxy", `http://${hostPort(proxy.inside, PORTS.proxy)}`];
}

function socks(proxy: Proxy): string[] {
  return ["--socks5-hostname", hostPort(proxy.inside, PORTS.proxy)];
}

describe("the proxy port", needs({ commands: ["curl"] }), () => {
  let mesh: Mesh;
  let client: Proxy;
  let strict: Proxy;
  let plainAddress: string;
  let appAddress: string;

  before(async () => {
    mesh = await startMesh();
    const clientAddress = mesh.address();
    const strictAddress = mesh.address();
    appAddress = mesh.address();
    plainAddress = mesh.address();
    const deniedAddress = mesh.address();
    mesh.write("mesh", [
      service("app", [
        { name: "http", port: 80, targetPort: HTTP },
        { name: "tcp-echo", port: ECHO },
        { name: "tcp-closed", port: CLOSED },
      ]),
      service("denied", [{ name: "http", port: 80, targetPort: HTTP }]),
      service("nobody", [{ name: "http", port: 80 }]),
      workloadEntry("app", appAddress, { serviceAccount: "app" }),
      workloadEntry("denied", deniedAddress, { serviceAccount: "denied" }),
      workloadEntry("client", clientAddress, { serviceAccount: "client" }),
      workloadEntry("strict", strictAddress, { serviceAccount: "strict" }),
      authorizationPolicy("none", "ALLOW", { app: "denied" }, []),
    ]);
    await mesh.with(startHttpApp(appAddress, HTTP, "in the mesh"));
    await mesh.with(startTcpApp(appAddress, ECHO, echo));
    await mesh.with(startHttpApp(plainAddress, HTTP, "outside"));
    await mesh.uproxy({ name: "app", address: appAddress });
    await mesh.uproxy({ name: "denied", address: deniedAddress });
    client = await mesh.uproxy({ name: "client", address: clientAddress });
    strict = await mesh.uproxy({
      name: "strict",
      address: strictAddress,
      config: { outbound: { proxy: hostPort(mesh.inside(strictAddress), PORTS.proxy), unknown: "refuse" } },
    });
  });

  after(() => mesh.stop());

  for (const [way, through] of [
    ["HTTP CONNECT", connect],
    ["SOCKS5", socks],
  ] as const) {
    test(`${way} leads to a service by each of its names, and to a workload by its address`, async () => {
      for (const host of ["app", "app.default", "app.default.svc", "APP.default.svc.cluster.local"]) {
        const { stdout, code, stderr } = await curl(...through(client), `http://${host}/hello`);
        assert.equal(code, 0, stderr);
        const echoed = JSON.parse(stdout) as Echoed;
        assert.equal(echoed.app, "in the mesh");
        assert.equal(echoed.url, "/hello");
      }
      const byAddress = await curl(...through(client), `http://${hostPort(appAddress, HTTP)}/`);
      assert.equal(byAddress.code, 0, byAddress.stderr);
      const line = await client.access({ direction: "outbound", "dst.addr": hostPort(appAddress, HTTP) });
      assert.equal(line["dst.hbone_addr"], hostPort(appAddress, PORTS.hbone));
    });

    test(`${way} leads to what is in no resource in plain TCP, unless that is refused`, async () => {
      const outside = await curl(...through(client), `http://${hostPort(plainAddress, HTTP)}/`);
      assert.equal((JSON.parse(outside.stdout) as Echoed).app, "outside");
      const refused = await curl(...through(strict), `http://${hostPort(plainAddress, HTTP)}/`);
      assert.notEqual(refused.code, 0);
      assert.equal(refused.stdout, "");
      await strict.access({ code: "EGRESS_REFUSED", "dst.addr": hostPort(plainAddress, HTTP) });
    });
  }

  test("HTTP CONNECT answers with a status and the code of the failure", async () => {
    for (const [url, status, code] of [
      [`http://denied/`, 403, "PEER_DENIED"],
      [`http://nobody/`, 503, "NO_HEALTHY_UPSTREAM"],
      [`http://app:${CLOSED}/`, 503, "PEER_UNAVAILABLE"],
      [`http://app:9/`, 404, "DESTINATION_UNKNOWN"],
    ] as const) {
      const { stdout, stderr } = await curl(...connect(client), "--verbose", url);
      assert.equal(stdout, "", `${url} was answered`);
      assert.match(stderr, new RegExp(`< HTTP/1\\.1 ${status} `), `${url}:\n${stderr}`);
      assert.match(stderr, new RegExp(`< culvert-code: ${code}`), `${url}:\n${stderr}`);
    }
  });

  test("SOCKS5 answers with the reply code that is nearest", async () => {
    // RFC 1928 section 6: 2 not allowed, 4 host unreachable, 5 connection refused.
    for (const [host, port, replies] of [
      ["denied", 80, [2]],
      ["nobody", 80, [4]],
      ["app", CLOSED, [5]],
    ] as const) {
      const connection = await dial(client.inside, PORTS.proxy);
      connection.send(Buffer.from([5, 1, 0]));
      await connection.bytes(2);
      const name = Buffer.from(host);
      connection.send(Buffer.from([5, 1, 0, 3, name.length, ...name, port >> 8, port & 255]));
      assert.equal(await connection.ended(), "end");
      const [version, method, again, reply = 0] = connection.received;
      assert.deepEqual([version, method, again], [5, 0, 5]);
      assert.ok((replies as readonly number[]).includes(reply), `${host}:${port} was answered ${reply}`);
    }
  });

  test("bytes right behind the request arrive, after the answer", async () => {
    const connection = await dial(client.inside, PORTS.proxy);
    connection.finish(`CONNECT app:${ECHO} HTTP/1.1\r\nHost: app:${ECHO}\r\n\r\nearly`);
    assert.equal(await connection.ended(), "end");
    assert.match(connection.received.toString(), /^HTTP\/1\.1 200 [^\r]*\r\n(?:[^\r]+\r\n)*\r\nearly$/);
  });

  test("a request may come byte by byte", async () => {
    const connection = await dial(client.inside, PORTS.proxy);
    for (const char of `CONNECT app:${ECHO} HTTP/1.1\r\n\r\n`) connection.send(char);
    await connection.bytes(12);
    assert.match(connection.received.toString(), /^HTTP\/1\.1 200/);
    connection.close();
  });

  test("what is neither is refused, with words where the client can read them", async () => {
    for (const [said, heard] of [
      ["GET http://app/ HTTP/1.1\r\nHost: app\r\n\r\n", /^HTTP\/1\.1 405 [\s\S]*culvert-code: METHOD_REFUSED/],
      ["CONNECT app HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 400 /],
      ["CONNECT 0177.0.0.1:80 HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 400 /],
      ["CONNECT user@app:80 HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 400 /],
      ["hello\r\n\r\n", /^HTTP\/1\.1 400 [\s\S]*culvert-code: PROXY_REQUEST_MALFORMED/],
    ] as const) {
      const connection = attempt(client.inside, PORTS.proxy);
      connection.send(said);
      assert.equal(await connection.ended(), "end", said);
      assert.match(connection.received.toString("latin1"), heard, said);
      connection.close();
    }
  });
});
