// Machine. `authority serve` as a process of a test, and callers that ask it for certificates.
import { KeyObject, webcrypto } from "node:crypto";
import type { ClientHttp2Session } from "node:http2";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create, fromBinary, toBinary, type JsonObject } from "@bufbuild/protobuf";
import {
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from "@culvert/authority/serve/proto/istio-ca.pb.ts";
import { TrustStateSchema, type TrustState } from "@culvert/authority/serve/proto/trust.pb.ts";
import { stringify } from "yaml";
import { answerOf, beginCall, callOnce, framed, grpcSession, type GrpcAnswer } from "./grpc.ts";
import type { Program } from "./process.ts";
import { commandLine, runProgram } from "./programs.ts";
import { startProgram } from "./process.ts";

export const CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
export const WATCH_TRUST = "/culvert.identity.v1.TrustService/WatchTrust";

/** Where an authority listens. */
export interface AuthorityPort {
  readonly port: number;
  /** Its root, PEM. */
  readonly root: string;
}

/** A running authority. */
export interface RunningAuthority extends AuthorityPort {
  readonly program: Program;
  readonly folder: string;
}

/** Makes an authority in `<folder>/ca`, unless one is there. */
export async function initAuthority(folder: string, trustDomain = "cluster.local"): Promise<string> {
  const ca = join(folder, "ca");
  const made = await runProgram("authority", ["init", ca, "--trust-domain", trustDomain]);
  if (made.code !== 0) throw new Error(made.stderr);
  return ca;
}

/** Starts `authority serve` on a port of the system's choice, over the authority in `ca`; `prefix` stands in front of the command. */
export async function startAuthority(
  folder: string,
  ca: string,
  config: Readonly<Record<string, unknown>> = {},
  deadlineMs?: number,
  prefix: readonly string[] = [],
): Promise<RunningAuthority> {
  const file = join(folder, "authority.yaml");
  const whole = {
    folder: ca,
    listen: "127.0.0.1:0",
    names: ["authority"],
    admin: "off",
    readiness: "off",
    metrics: "off",
    ...config,
  };
  await writeFile(file, stringify(whole));
  const line = commandLine("authority", ["serve", "--config", file]);
  const [command = line.command, ...args] = [...prefix, line.command, ...line.args];
  const program = startProgram({ name: "authority", command, args });
  const ready = JSON.parse(await program.line(/"message":"ready"/, deadlineMs)) as { port: number };
  return { program, folder: ca, port: ready.port, root: await readFile(join(ca, "root.pem"), "utf8") };
}

/** `authority token create` with the given options; the token. */
export async function createToken(ca: string, account: string, ...options: readonly string[]): Promise<string> {
  const args = ["token", "create", ca, "--namespace", "default", "--service-account", account, ...options];
  const made = await runProgram("authority", args);
  if (made.code !== 0) throw new Error(made.stderr);
  return made.stdout.trim();
}

/** A key with a request for a certificate of it. */
export interface Request {
  readonly csr: string;
  readonly keyPem: string;
}

/** A P-256 key and its request, with whatever names. */
export async function newRequest(uri?: string): Promise<Request> {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: "",
      keys,
      signingAlgorithm: algorithm,
      extensions:
        uri === undefined ? [] : [new x509.SubjectAlternativeNameExtension([{ type: "url", value: uri }], true)],
    },
    webcrypto,
  );
  return { csr: csr.toString("pem"), keyPem: KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }) };
}

/** What a request for a certificate came to. */
export interface Issued {
  readonly answer: GrpcAnswer;
  /** PEM entries; empty where it was refused. */
  readonly chain: readonly string[];
}

/** Asks for a certificate on a session. */
export async function askCertificate(
  session: ClientHttp2Session,
  csr: string,
  options: { readonly token?: string; readonly seconds?: bigint; readonly metadata?: JsonObject } = {},
): Promise<Issued> {
  const { token, seconds = 3_600n, metadata } = options;
  const message = create(IstioCertificateRequestSchema, { csr, validityDuration: seconds });
  if (metadata !== undefined) message.metadata = metadata;
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const answer = await callOnce(session, CREATE_CERTIFICATE, toBinary(IstioCertificateRequestSchema, message), headers);
  const [body] = answer.messages;
  return { answer, chain: body === undefined ? [] : fromBinary(IstioCertificateResponseSchema, body).certChain };
}

/** A certificate of the test's own: chain without the root, key, root. */
export interface Holder {
  readonly certPem: string;
  readonly keyPem: string;
}

/** Gets a certificate by a token, on a session of its own. */
export async function joinAs(authority: AuthorityPort, token: string, seconds = 3_600n): Promise<Holder> {
  const session = await grpcSession({ port: authority.port, ca: authority.root });
  try {
    const { csr, keyPem } = await newRequest();
    const { answer, chain } = await askCertificate(session, csr, { token, seconds });
    if (answer.status !== 0) throw new Error(`status ${answer.status}: ${answer.message}`);
    return { certPem: chain.slice(0, -1).join(""), keyPem };
  } finally {
    session.close();
  }
}

/** A session by a certificate. */
export function sessionOf(authority: AuthorityPort, holder: Holder): Promise<ClientHttp2Session> {
  return grpcSession({ port: authority.port, ca: authority.root, cert: holder.certPem, key: holder.keyPem });
}

/** Watches whom to trust; the states as they come, and how the call ended. */
export function watchTrust(session: ClientHttp2Session): {
  readonly states: TrustState[];
  readonly ended: Promise<GrpcAnswer>;
  readonly cancel: () => void;
} {
  const states: TrustState[] = [];
  const stream = beginCall(session, WATCH_TRUST);
  stream.end(framed(new Uint8Array()));
  const ended = answerOf(stream, (message) => states.push(fromBinary(TrustStateSchema, message)));
  return { states, ended, cancel: () => stream.close(8) };
}
