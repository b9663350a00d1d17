// Machine. Asks a running program's admin or readiness port, for the commands.
import { request, type RequestOptions } from "node:http";
import { fail, type Failure } from "../failure/failure.ts";
import type { HttpListen } from "./http-endpoint.ts";

/** An answer of such a port. */
export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

/** A dump can be large; what is larger than this is not ours. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;

/** `GET path` at a TCP address or UNIX socket. Failures: APP_UNREACHABLE, APP_TIMEOUT. */
export function httpGet(at: HttpListen, path: string, timeoutMs: number): Promise<HttpAnswer | Failure> {
  return ask(at, { method: "GET", path }, timeoutMs);
}

/** `POST path`, for what changes something. Fails as `httpGet` does. */
export function httpPost(at: HttpListen, path: string, timeoutMs: number): Promise<HttpAnswer | Failure> {
  return ask(at, { method: "POST", path, headers: { "culvert-admin": "1" } }, timeoutMs);
}

function ask(at: HttpListen, what: RequestOptions, timeoutMs: number): Promise<HttpAnswer | Failure> {
  const where =
    "path" in at ? { socketPath: at.path } : { host: at.host === "" ? "localhost" : at.host, port: at.port };
  return new Promise((resolve) => {
    const asking = request({ ...where, ...what, agent: false, timeout: timeoutMs }, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_BODY_BYTES) asking.destroy(new Error(`more than ${MAX_BODY_BYTES} bytes`));
        else chunks.push(chunk);
      });
      response.on("error", (error) => resolve(fail("APP_UNREACHABLE", error.message)));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
    });
    asking.on("timeout", () => {
      resolve(fail("APP_TIMEOUT", `no answer in ${timeoutMs} ms`));
      asking.destroy();
    });
    asking.on("error", (error) => resolve(fail("APP_UNREACHABLE", error.message)));
    asking.end();
  });
}
