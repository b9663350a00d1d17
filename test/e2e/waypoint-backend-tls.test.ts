// app → uproxy → waypoint → uproxy → an application that speaks TLS: a BackendTLSPolicy, its certificates and names, and what ALPN
// agrees on. Among the applications is nginx; needs `nginx` and `curl`.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createSecureServer, type Http2SecureServer } from "node:http2";
import { createServer as createHttps, type Server } from "node:https";
import type { TLSSocket } from "node:tls";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { mint, type CertificateSpec, type Minted } from "../support/ca.ts";
import { command } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { run, startProgram } from "../support/process.ts";
import { backendTlsPolicy, configMap, httpRoute, service, type Resource } from "../support/resources.ts";
import { startShop, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";

const HOST = "secure.example.com";
const SPIFFE = "spiffe://elsewhere.example/secure";
/** Ports of the service `secure`, and of its application. */
const PORTS = { both: 8501, one: 8502, nginx: 8503, expired: 8504, wrong: 8505, stranger: 8506, uri: 8507 } as const;
/** The service `front`, of which a route leads to `secure`, whose port 8508 is declared HTTPS. */
const FRONT = 8500;
const HTTPS = 8508;

describe("TLS to the applications behind a waypoint", needs({ commands: ["nginx", "curl"] }), () => {
  let shop: Shop;
  let ca: Minted;
  const servers: (Server | Http2SecureServer)[] = [];
  const sessions: string[] = [];

  before(async () => {
    const root: CertificateSpec = { subject: "CN=Backends", ca: {}, keyUsage: ["keyCertSign"], extendedKeyUsage: [] };
    ca = await mint(undefined, root);
    const others = await mint(undefined, { ...root, subject: "CN=Others" });
    const behind = { "istio.io/use-waypoint": "waypoint" };
    const ports = Object.entries(PORTS).map(([name, port]) => ({ name, port, appProtocol: "http" }));
    shop = await startShop({
      more: () => [
        service("secure", [...ports, { name: "https", port: HTTPS, targetPort: PORTS.both, appProtocol: "https" }], {
          app: "shop",
          labels: behind,
        }),
        service("front", [{ name: "http", port: FRONT, appProtocol: "http" }], { app: "shop", labels: behind }),
      ],
      listeners: () => ({
        ...Object.fromEntries(Object.values(PORTS).map((port) => [port, `secure:${port}`])),
        [FRONT]: `front:${FRONT}`,
      }),
    });
    const { address } = shop.apps[0];
    const good = await mint(ca, { dns: [HOST] });
    const listen = async (port: number, { chainPem: cert, keyPem: key }: Minted, http2: boolean): Promise<void> => {
      const answer = `from ${port}`;
      const server = http2
        ? createSecureServer({ cert, key, allowHTTP1: true }, (request, response) =>
            response.end(`${request.httpVersion} ${request.url} ${answer}`),
          )
        : createHttps({ cert, key }, (request, response) =>
            response.end(`${request.httpVersion} ${request.url} ${answer}`),
          );
      server.on("secureConnection", (socket: TLSSocket) => sessions.push(`${port} ${String(socket.servername)}`));
      server.on("tlsClientError", () => {});
      servers.push(server);
      await once(server.listen(port, address), "listening");
    };
    await listen(PORTS.both, good, true);
    await listen(PORTS.one, good, false);
    await listen(PORTS.expired, await mint(ca, { dns: [HOST], notAfter: new Date(Date.now() - 1000) }), false);
    await listen(PORTS.wrong, await mint(ca, { dns: ["other.example.com"] }), false);
    await listen(PORTS.stranger, await mint(others, { dns: [HOST] }), false);
    await listen(PORTS.uri, await mint(ca, { uris: [SPIFFE] }), true);
    await startNginx(shop, address, good);
    await use(backendTlsPolicy("secure", { name: "secure" }, HOST, { roots: "roots" }));
  });

  after(async () => {
    for (const server of servers) server.close();
    await shop.mesh.stop();
  });

  function use(...policies: readonly Resource[]): Promise<void> {
    return shop.put("tls", [configMap("roots", { "ca.crt": ca.chainPem }), ...policies]);
  }

  async function get(port: number, path = "/x"): Promise<{ status: number; text: string; code: string | undefined }> {
    const wire = await shop.dial(port);
    const { status, text, head } = await wire.get(path);
    wire.close();
    return { status, text, code: codeIn(head) };
  }

  test("an application that speaks both versions gets HTTP/2, one that does not HTTP/1.1, whatever the client speaks", async () => {
    assert.equal((await get(PORTS.both)).text, `2.0 /x from ${PORTS.both}`);
    assert.equal((await get(PORTS.one)).text, `1.1 /x from ${PORTS.one}`);
    for (const [port, version] of [
      [PORTS.both, "2.0"],
      [PORTS.one, "1.1"],
    ] as const) {
      const url = `http://${hostPort(shop.client.inside, port)}/h2`;
      const { stdout } = await run(command("curl"), ["-s", "--http2-prior-knowledge", url]);
      assert.equal(stdout, `${version} /h2 from ${port}`);
    }
    assert.ok(sessions.every((each) => each.endsWith(HOST)));
  });

  test("requests at the same time share what is one session of HTTP/2, and kept connections of HTTP/1.1", async () => {
    await use(backendTlsPolicy("again", { name: "secure" }, HOST, { roots: "roots" }));
    const began = sessions.length;
    await Promise.all(Array.from({ length: 20 }, () => get(PORTS.both)));
    assert.equal(sessions.length - began, 1);
    for (let i = 0; i < 5; i += 1) assert.equal((await get(PORTS.one)).status, 200);
    assert.equal(sessions.length - began, 2);
  });

  test("nginx, with a body each way", async () => {
    const url = `http://${hostPort(shop.client.inside, PORTS.nginx)}/`;
    const body = join(shop.mesh.folder, "body");
    writeFileSync(body, "x".repeat(2_000_000));
    const { stdout } = await run(command("curl"), ["-s", "--data-binary", `@${body}`, url]);
    assert.equal(stdout, "HTTP/2.0 2000000");
  });

  test("a route leads to a port that is declared HTTPS", async () => {
    await shop.put("front", [httpRoute("front", "front", [{ backendRefs: [{ name: "secure", port: HTTPS }] }])]);
    assert.equal((await get(FRONT)).text, `2.0 /x from ${PORTS.both}`);
  });

  for (const [what, port, code] of [
    ["a certificate that has expired", PORTS.expired, /CERT_HAS_EXPIRED/],
    ["a certificate for another name", PORTS.wrong, /DNS:other\.example\.com/],
    ["a certificate of another issuer", PORTS.stranger, /UNABLE_TO|SELF_SIGNED/],
    ["a certificate without the name", PORTS.uri, /URI:spiffe/],
  ] as const) {
    test(`${what} gets no request`, async () => {
      const { status, code: said } = await get(port);
      assert.deepEqual([status, said], [503, "BACKEND_UNTRUSTED"]);
      const line = await shop.waypoint.logged({
        code: "BACKEND_UNTRUSTED",
        upstream_host: hostPort(shop.apps[0].address, port),
      });
      assert.match(JSON.stringify(line), code);
    });
  }

  test("a policy of a port goes before that of its Service, and may ask for a URI", async () => {
    const all = backendTlsPolicy("secure", { name: "secure" }, HOST, { roots: "roots" });
    const one = { name: "secure", sectionName: "uri" };
    await use(all, backendTlsPolicy("uri", one, HOST, { roots: "roots", uri: SPIFFE }));
    assert.equal((await get(PORTS.uri)).text, `2.0 /x from ${PORTS.uri}`);
    assert.equal((await get(PORTS.both)).status, 200);
  });

  test("a policy that changes holds for the next request, and one that cannot be used never lets plaintext out", async () => {
    await use(backendTlsPolicy("secure", { name: "secure" }, HOST, { roots: "roots" }));
    const wire = await shop.dial(PORTS.both);
    assert.equal((await wire.get("/1")).status, 200);
    await use(backendTlsPolicy("secure", { name: "secure" }, "other.example.com", { roots: "roots" }));
    assert.equal((await wire.get("/2")).status, 503);
    await use(backendTlsPolicy("secure", { name: "secure" }, HOST));
    assert.equal((await wire.get("/3")).status, 503, "our own authority is none of the system's");
    await use(backendTlsPolicy("secure", { name: "secure" }, HOST, { roots: "missing" }));
    const { status, head } = await wire.get("/4");
    assert.deepEqual([status, codeIn(head)], [500, "BACKEND_TLS_INVALID"]);
    await use(backendTlsPolicy("secure", { name: "secure" }, HOST, { roots: "roots" }));
    assert.equal((await wire.get("/5")).status, 200);
    wire.close();
  });

  test("without the policy the port is plaintext again, and the application says so", async () => {
    await use();
    const began = sessions.length;
    const { status } = await get(PORTS.one);
    assert.ok(status >= 400, String(status));
    assert.equal(sessions.length, began);
    await use(backendTlsPolicy("secure", { name: "secure" }, HOST, { roots: "roots" }));
    await until("TLS again", async () => (await get(PORTS.one)).status === 200);
  });
});

function codeIn(head: string): string | undefined {
  return /^culvert-code: (.*)\r$/im.exec(head)?.[1];
}

/** nginx on its port of the application: says which version it was asked in, and how long the body was. */
async function startNginx(shop: Shop, address: string, { chainPem, keyPem }: Minted): Promise<void> {
  const folder = join(shop.mesh.folder, "nginx");
  mkdirSync(folder);
  writeFileSync(join(folder, "cert.pem"), chainPem);
  writeFileSync(join(folder, "key.pem"), keyPem);
  const lines = [
    "daemon off; master_process off; pid nginx.pid; error_log stderr;",
    "events {}",
    "http { access_log off; client_max_body_size 10m; client_body_temp_path body; proxy_temp_path proxy;",
    "  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;",
    `  server { listen ${hostPort(address, PORTS.nginx)} ssl http2; server_name ${HOST};`,
    "    ssl_certificate cert.pem; ssl_certificate_key key.pem;",
    `    location / { proxy_set_header x-version $server_protocol; proxy_pass http://${hostPort(address, PORTS.nginx + 100)}; }`,
    "  }",
    `  server { listen ${hostPort(address, PORTS.nginx + 100)};`,
    '    location / { return 200 "$http_x_version $content_length\n"; }',
    "  }",
    "}",
  ];
  writeFileSync(join(folder, "nginx.conf"), `${lines.join("\n")}\n`);
  const nginx = startProgram({
    name: "nginx",
    command: command("nginx"),
    args: ["-p", folder, "-c", "nginx.conf", "-e", "stderr"],
  });
  await shop.mesh.with(Promise.resolve(nginx));
}
