// nghttp2's tools → uproxy → waypoint → uproxy → an application in HTTP/2: many requests on few connections, more of them than the
// application takes at once, and a client that does not read. Needs `nghttp` and `h2load`.
import assert from "node:assert/strict";
import { createServer, connect, type Http2Server, type ServerHttp2Stream } from "node:http2";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { command } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { memory } from "../support/proc.ts";
import { run } from "../support/process.ts";
import { service } from "../support/resources.ts";
import { startShop, type Shop } from "../support/shop.ts";
import { observe, until } from "../support/until.ts";

const PORT = { port: 8100, targetPort: 8181 } as const;
const MIB = 1024 * 1024;
const MOST_AT_ONCE = 30;

describe("HTTP/2 tools through a waypoint", needs({ commands: ["nghttp", "h2load"] }), () => {
  let shop: Shop;
  let app: Http2Server;
  let origin = "";
  let open = 0;
  let sessions = 0;
  /** Bytes that the application could write to the client that does not read. */
  let written = 0;

  function pour(stream: ServerHttp2Stream): void {
    const chunk = Buffer.alloc(64 * 1024, "x");
    const write = (): void => {
      while (!stream.destroyed) {
        written += chunk.length;
        if (!stream.write(chunk)) return;
      }
    };
    stream.on("drain", write);
    write();
  }

  before(async () => {
    const labels = { "istio.io/use-waypoint": "waypoint" };
    shop = await startShop({
      more: () => [
        service("h2", [{ name: "http2", ...PORT, appProtocol: "kubernetes.io/h2c" }], { labels, app: "shop" }),
      ],
      listeners: () => ({ [PORT.port]: `h2:${PORT.port}` }),
    });
    app = createServer({ settings: { maxConcurrentStreams: MOST_AT_ONCE } });
    app.on("sessionError", () => {});
    app.on("session", () => (sessions += 1));
    app.on("stream", (stream: ServerHttp2Stream, headers) => {
      open += 1;
      stream.on("error", () => {});
      stream.on("close", () => (open -= 1));
      stream.respond({ ":status": 200, "x-path": String(headers[":path"]) });
      if (headers[":path"] === "/pour") pour(stream);
      else if (headers[":method"] === "POST") {
        stream.on("data", (chunk: Buffer) => {
          if (!stream.write(chunk)) stream.pause();
        });
        stream.on("drain", () => stream.resume()).on("end", () => stream.end());
      } else stream.end("a page");
    });
    await new Promise<void>((resolve) => void app.listen(PORT.targetPort, shop.addresses.apps[0], resolve));
    shop.mesh.atEnd(async () => void app.close());
    origin = `http://${hostPort(shop.client.inside, PORT.port)}`;
  });

  after(() => shop.mesh.stop());

  test("nghttp gets what it asks for, on one connection", async () => {
    const { stdout, code } = await run(command("nghttp"), ["--verbose", `${origin}/a`, `${origin}/b`], {
      name: "nghttp",
    });
    assert.equal(code, 0);
    assert.deepEqual(new Set([...stdout.matchAll(/x-path: (\S+)/g)].map(([, path]) => path)), new Set(["/a", "/b"]));
    assert.equal(stdout.match(/a page/g)?.length, 2);
  });

  test("h2load: more requests at once than the application takes, and not one fails", async () => {
    const load = ["--requests=3000", "--clients=3", "--max-concurrent-streams=100", `${origin}/load`];
    const { stdout } = await run(command("h2load"), load, { name: "h2load", deadlineMs: 60_000 });
    assert.match(stdout, /3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout/);
    assert.match(stdout, /status codes: 3000 2xx/);
    assert.ok(sessions > 1, `${sessions} sessions`);
  });

  test("a client that does not read holds the application back, and costs the waypoint little", async () => {
    const session = connect(origin);
    session.on("error", () => {});
    const atRest = memory(shop.waypoint.program.pid);
    const streams = Array.from({ length: 10 }, () => session.request({ ":path": "/pour" }).on("error", () => {}));
    await until("the application to be held back", async () => {
      const count = written;
      await observe(300);
      return written > 0 && written === count;
    });
    assert.ok(written < 10 * 8 * MIB, `${written / MIB} MiB written`);
    const grown = memory(shop.waypoint.program.pid).rss - atRest.rss;
    assert.ok(grown < 60, `${grown} MiB more`);
    for (const stream of streams) stream.close(8);
    session.destroy();
    await until("the application's streams to end", () => open === 0);
  });
});
