// curl → uproxy → waypoint → uproxy → an HTTP server of Node.js: what a common client does, by the options that people use, and a stream
// of events. Needs `curl`.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get, type RequestListener, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { serveHttp } from "../support/apps.ts";
import { command } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { run } from "../support/process.ts";
import { service } from "../support/resources.ts";
import { startShop, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";

const FILES = { port: 8100, targetPort: 8181 } as const;
const PAGE = Buffer.from(Array.from({ length: 1000 }, (_, i) => `line ${i}\n`).join(""));
const UPLOAD = Buffer.alloc(8 * 1024 * 1024, "culvert");

/** What the application saw of the requests, oldest first. */
const seen: { readonly method: string; readonly version: string; readonly framing: string }[] = [];
/** Streams of events that are open. */
const streams: ServerResponse[] = [];

const files: RequestListener = (request, response) => {
  const { method = "", url = "", headers, httpVersion } = request;
  const framing = headers["transfer-encoding"] ?? headers["content-length"] ?? "";
  seen.push({ method, version: httpVersion, framing });
  const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "");
  if (url === "/events") {
    streams.push(response);
    response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
  } else if (url === "/moved") response.writeHead(302, { location: "/page" }).end();
  else if (url.startsWith("/up")) {
    const hash = createHash("sha256");
    request.on("data", (chunk: Buffer) => hash.update(chunk));
    request.on("end", () => response.end(hash.digest("hex")));
  } else if (range !== null) {
    const [from, to] = [Number(range[1]), Number(range[2])];
    response.writeHead(206, { "content-range": `bytes ${from}-${to}/${PAGE.length}` });
    response.end(PAGE.subarray(from, to + 1));
  } else response.writeHead(200, { "content-length": PAGE.length, "content-type": "text/plain" }).end(PAGE);
};

describe("curl through a waypoint", needs({ commands: ["curl"] }), () => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-curl-"));
  const upload = join(folder, "upload");
  let shop: Shop;
  let origin = "";
  /** Answers to `Expect: 100-continue`. */
  let expectation: "100" | "417" = "100";

  before(async () => {
    writeFileSync(upload, UPLOAD);
    const labels = { "istio.io/use-waypoint": "waypoint" };
    shop = await startShop({
      more: () => [service("files", [{ name: "http", ...FILES, appProtocol: "http" }], { labels, app: "shop" })],
      listeners: () => ({ [FILES.port]: `files:${FILES.port}` }),
    });
    await shop.mesh.with(
      serveHttp(shop.addresses.apps[0], FILES.targetPort, files, (server) => {
        server.on("checkContinue", (request, response) => {
          if (expectation === "417") {
            seen.push({ method: request.method ?? "", version: request.httpVersion, framing: "417" });
            response.writeHead(417, { connection: "close" }).end();
            return;
          }
          response.writeContinue();
          files(request, response);
        });
      }),
    );
    origin = `http://${hostPort(shop.client.inside, FILES.port)}`;
  });

  after(async () => {
    await shop.mesh.stop();
    rmSync(folder, { recursive: true });
  });

  /** Runs curl; `%{…}` of `--write-out` come behind the body. */
  async function curl(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    seen.length = 0;
    const always = ["--silent", "--show-error", "--globoff", "--max-time", "20", "--noproxy", "*"];
    return run(command("curl"), [...always, ...args.map((arg) => arg.replace(/^\/(?!tmp)/, `${origin}/`))], {
      name: "curl",
    });
  }

  for (const version of ["--http1.0", "--http1.1", "--http2-prior-knowledge"]) {
    test(`${version}: a page`, async () => {
      const { stdout } = await curl(version, "/page", "--write-out", "\n%{http_code} %{size_download}");
      assert.equal(stdout, `${PAGE.toString()}\n200 ${PAGE.length}`);
      assert.deepEqual(seen, [{ method: "GET", version: "1.1", framing: "" }]);
    });

    test(`${version}: its head alone`, async () => {
      const { stdout } = await curl(version, "--head", "/page");
      assert.match(stdout, new RegExp(`^HTTP/(1.1 200 OK|2 200 )\n(.*\n)*content-length: ${PAGE.length}\n`));
      assert.deepEqual(seen, [{ method: "HEAD", version: "1.1", framing: "" }]);
    });

    test(`${version}: a range of it`, async () => {
      const { stdout } = await curl(version, "--range", "100-199", "/page", "--write-out", "%{http_code}");
      assert.equal(stdout, `${PAGE.toString("latin1", 100, 200)}206`);
    });

    test(`${version}: an upload of some megabytes`, async () => {
      const { stdout } = await curl(version, "--upload-file", upload, "/up");
      assert.equal(stdout, createHash("sha256").update(UPLOAD).digest("hex"));
      assert.deepEqual(seen, [{ method: "PUT", version: "1.1", framing: String(UPLOAD.length) }]);
    });

    test(`${version}: a form, and a redirect`, async () => {
      assert.equal((await curl(version, "--data", "a=b", "/up")).stdout.length, 64);
      // curl 7.88 cannot ask again on a connection of HTTP/2 that began by prior knowledge.
      if (version === "--http2-prior-knowledge") return;
      const { stdout } = await curl(version, "--location", "/moved", "--write-out", "\n%{num_redirects}");
      assert.equal(stdout, `${PAGE.toString()}\n1`);
    });
  }

  test("several requests of one client go over one connection", async () => {
    const { stdout } = await curl("/up", "/up", "/up", "--write-out", " %{num_connects}\n");
    assert.deepEqual(
      stdout.split("\n").map((line) => line.slice(64)),
      [" 1", " 0", " 0"],
    );
  });

  test("an upload in chunks stays one", async () => {
    const { stdout } = await curl("--header", "transfer-encoding: chunked", "--upload-file", upload, "/up");
    assert.equal(stdout, createHash("sha256").update(UPLOAD).digest("hex"));
    assert.deepEqual(seen, [{ method: "PUT", version: "1.1", framing: "chunked" }]);
  });

  test("Expect: 100-continue is answered by the application", async () => {
    const args = ["--verbose", "--expect100-timeout", "15"];
    const { stdout, stderr } = await curl(...args, "--upload-file", upload, "/up");
    assert.equal(stdout, createHash("sha256").update(UPLOAD).digest("hex"));
    assert.match(stderr, /< HTTP\/1\.1 100 Continue/);
  });

  test("a refused expectation comes back before any body is sent", async () => {
    expectation = "417";
    const args = ["--expect100-timeout", "15", "--write-out", "%{http_code} %{size_upload}"];
    const { stdout } = await curl(...args, "--upload-file", upload, "/up");
    expectation = "100";
    assert.equal(stdout, "417 0");
    assert.deepEqual(seen, [{ method: "PUT", version: "1.1", framing: "417" }]);
  });

  test("downloads beside each other", async () => {
    const urls = Array.from({ length: 20 }, (_, i) => ["/page", "--output", join(folder, `page-${i}`)]).flat();
    assert.equal((await curl("--parallel", ...urls)).code, 0);
    for (let i = 0; i < 20; i += 1) assert.ok(readFileSync(join(folder, `page-${i}`)).equals(PAGE));
  });

  test("events come one by one, each before the next is made", async () => {
    let heard = "";
    const request = get(`${origin}/events`, (response) => {
      assert.equal(response.headers["content-type"], "text/event-stream");
      response.setEncoding("utf8").on("data", (chunk: string) => void (heard += chunk));
    });
    const stream = await until("a stream of events", () => streams.at(-1));
    for (let i = 1; i <= 50; i += 1) {
      stream.write(`data: ${i}\n\n`);
      await until(`event ${i}`, () => heard.endsWith(`data: ${i}\n\n`));
    }
    request.destroy();
    // A client that is gone and one that has only said its last word are told apart by the next event.
    await until("the end of the stream", () => {
      stream.write("data: more\n\n");
      return stream.closed;
    });
  });
});
