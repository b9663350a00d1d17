// Machine. A certificate service as istiod has it, for tests, in this process: TLS with a DNS name of its own, a service account token
// as the only proof, the root as the signer. It can be told to be slow, to refuse and to lie.
import { once } from "node:events";
import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { decodeMessage, encodeMessage, textOf, type Field } from "@culvert/shared/grpc/message.ts";
import { CREATE_CERTIFICATE } from "./authority.ts";
import { mint, type CertificateSpec, type TestAuthority } from "./ca.ts";
import { framed } from "./grpc.ts";
import { readRequest } from "./signing.ts";

/** The name in its certificate, as in a cluster. */
export const ISTIOD_NAME = "istiod.istio-system.svc";

/** A service account token as Kubernetes mounts it, as far as it is read here; `round` tells one from the next. */
export function accountToken(account: string, namespace = "default", round = 1): string {
  const claims = { sub: `system:serviceaccount:${namespace}:${account}`, aud: ["istio-ca"], round };
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.sig`;
}

/** What it was asked. */
export interface IstioRequest {
  readonly token: string;
  /** URI names of the request. */
  readonly uris: readonly string[];
  readonly seconds: number;
}

/** What it does with a request beside what it should. */
export interface Part {
  /** The identity that it certifies, in place of the token's. */
  readonly id?: string;
  readonly spec?: CertificateSpec;
  /** Milliseconds before the answer. */
  readonly lifeMs?: number;
  /** A gRPC status in place of an answer. */
  readonly status?: number;
  /** Nothing is answered. */
  readonly silent?: boolean;
  /** Entries of the chain, in place of leaf and root. */
  readonly chain?: (chain: readonly string[]) => readonly string[];
}

const HEADERS = { ":status": 200, "content-type": "application/grpc" };
const UNAUTHENTICATED = 16;

/** The server. */
export class TestIstioCa {
  readonly authority: TestAuthority;
  readonly requests: IstioRequest[] = [];
  part: Part = {};
  readonly #sessions = new Set<ServerHttp2Session>();
  #server: Http2SecureServer | undefined;
  #port = 0;

  constructor(authority: TestAuthority) {
    this.authority = authority;
  }

  /** `host:port`. */
  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Listens, on the same port as before if it has had one. */
  async start(): Promise<void> {
    const own = await mint(this.authority.root, { dns: [ISTIOD_NAME] });
    const server = createSecureServer({ cert: own.chainPem, key: own.keyPem, minVersion: "TLSv1.2" });
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", () => undefined);
      session.on("close", () => this.#sessions.delete(session));
    });
    server.on("sessionError", () => undefined);
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.on("error", () => undefined);
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const fields = decodeMessage(Buffer.concat(chunks).subarray(5)) ?? [];
        const token = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1] ?? "";
        void this.#answer(stream, headers[":path"] ?? "", token, fields);
      });
    });
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const session of this.#sessions) session.destroy();
    if (server === undefined) return;
    const closed = once(server, "close");
    server.close();
    await closed;
  }

  async #answer(stream: ServerHttp2Stream, path: string, token: string, fields: readonly Field[]): Promise<void> {
    const { publicKey, uris } = await readRequest(textOf(fields, 1));
    const seconds = Number(fields.find(({ number }) => number === 3)?.value ?? 0);
    this.requests.push({ token, uris, seconds });
    const {
      id,
      spec,
      lifeMs = seconds * 1_000,
      status,
      silent = false,
      chain = (made): readonly string[] => made,
    } = this.part;
    if (silent) return;
    const account = accountOf(token);
    if (path !== CREATE_CERTIFICATE || account === undefined || status !== undefined) {
      const code = String(status ?? UNAUTHENTICATED);
      stream.respond(
        { ...HEADERS, "grpc-status": code, "grpc-message": "request authenticate failure" },
        { endStream: true },
      );
      return;
    }
    const notBefore = new Date(Date.now() - 2_000);
    const keys = { publicKey, privateKey: this.authority.root.keys.privateKey };
    const { leaf } = await mint(this.authority.root, {
      uris: [id ?? `spiffe://${this.authority.trustDomain}/${account}`],
      keyUsage: ["digitalSignature", "keyEncipherment"],
      keys,
      notBefore,
      notAfter: new Date(Date.now() + lifeMs),
      ...spec,
    });
    const entries = chain([leaf.toString(), this.authority.bundlePem]);
    if (stream.destroyed) return;
    stream.respond(HEADERS, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(framed(encodeMessage(entries.map((entry) => [1, entry] as const))));
  }
}

function accountOf(token: string): string | undefined {
  const claims = Buffer.from(token.split(".")[1] ?? "", "base64url").toString();
  const [, namespace, account] = /"sub":"system:serviceaccount:([^:"]+):([^:"]+)"/.exec(claims) ?? [];
  return namespace === undefined ? undefined : `ns/${namespace}/sa/${account}`;
}
