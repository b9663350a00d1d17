// Machine. For tests: a SPIFFE Workload API in this process, whose answers and misdeeds the test says. How we get on with
// implementations that are not ours is tried elsewhere, against go-spiffe.
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { encodeMessage } from "@culvert/shared/grpc/message.ts";
import { certificatesFromPem } from "@culvert/shared/identity/pem.ts";
import { createPrivateKey } from "node:crypto";
import type { Minted, TestAuthority } from "./ca.ts";
import { framed } from "./grpc.ts";
import { must } from "./identity.ts";

const HEADERS = { ":status": 200, "content-type": "application/grpc" };

/** One SVID of an answer; each absent field has the value that fits `minted`. */
export interface SvidEntry {
  readonly minted: Minted;
  readonly authority: TestAuthority;
  readonly id?: string;
  readonly hint?: string;
  readonly chain?: Uint8Array;
  readonly key?: Uint8Array;
  readonly bundle?: Uint8Array;
}

/** Certificates of a PEM text, DER after DER. */
export function derOf(pem: string): Buffer {
  return Buffer.concat(must(certificatesFromPem(pem, "test")).map(({ raw }) => raw));
}

/** A private key of a PEM text, PKCS #8 DER. */
export function keyDerOf(pem: string): Buffer {
  return createPrivateKey(pem).export({ type: "pkcs8", format: "der" });
}

/** An X509SVIDResponse. */
export function x509Response(
  svids: readonly SvidEntry[],
  federated: Readonly<Record<string, Uint8Array>> = {},
  crls: readonly Uint8Array[] = [],
): Buffer {
  return encodeMessage([
    ...svids.map(({ minted, authority, id, hint = "", chain, key, bundle }) => {
      const [name = ""] = minted.leaf.subjectAltName?.replace("URI:", "").split(", ") ?? [];
      const entry = encodeMessage([
        [1, id ?? name],
        [2, chain ?? derOf(minted.chainPem)],
        [3, key ?? keyDerOf(minted.keyPem)],
        [4, bundle ?? derOf(authority.bundlePem)],
        [5, hint],
      ]);
      return [1, entry] as const;
    }),
    ...crls.map((crl) => [2, crl] as const),
    ...Object.entries(federated).map(([domain, der]) => {
      const entry = encodeMessage([
        [1, domain],
        [2, der],
      ]);
      return [3, entry] as const;
    }),
  ]);
}

/** The server. What it says is said on every stream that there is or comes. */
export class TestWorkloadApi {
  readonly #path: string;
  readonly #streams = new Set<ServerHttp2Stream>();
  readonly #sessions = new Set<ServerHttp2Session>();
  #server: Http2Server | undefined;
  #message: Buffer | undefined;
  #status: string | undefined;
  /** Calls so far, and those that had the header that the standard wants. */
  readonly calls = { all: 0, withHeader: 0 };

  constructor(path: string) {
    this.#path = path;
  }

  get streams(): number {
    return this.#streams.size;
  }

  async start(): Promise<void> {
    const server = createServer();
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", () => undefined);
      session.on("close", () => this.#sessions.delete(session));
    });
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.on("error", () => undefined);
      stream.resume();
      this.calls.all += 1;
      if (headers["workload.spiffe.io"] === "true") this.calls.withHeader += 1;
      if (this.#status !== undefined) {
        stream.respond({ ...HEADERS, "grpc-status": this.#status, "grpc-message": "as%20told" }, { endStream: true });
        return;
      }
      this.#streams.add(stream);
      stream.on("close", () => this.#streams.delete(stream));
      stream.respond(HEADERS);
      if (this.#message !== undefined) stream.write(framed(this.#message));
    });
    server.listen(this.#path);
    await once(server, "listening");
    this.#server = server;
  }

  /** An answer, now and to all who come. */
  say(message: Buffer): void {
    this.#status = undefined;
    this.#message = message;
    for (const stream of this.#streams) stream.write(framed(message));
  }

  /** No answer to those who come, but a status. */
  refuse(status: number): void {
    this.#status = String(status);
    this.endStreams();
  }

  /** Resets the streams that there are. */
  endStreams(): void {
    for (const stream of this.#streams) stream.close(2);
  }

  /** Ends as a process that is killed: the socket's file stays when it is said so. */
  stop(): void {
    for (const session of this.#sessions) session.destroy();
    this.#server?.close();
    this.#server = undefined;
    rmSync(this.#path, { force: true });
  }
}
