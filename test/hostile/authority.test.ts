// Hostile callers of the authority: anybody who reaches its port, without a certificate. What they send is refused and bounded, and
// beside them an honest caller still gets its certificate.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { create, toBinary, type JsonObject } from "@bufbuild/protobuf";
import { IstioCertificateRequestSchema } from "@culvert/authority/serve/proto/istio-ca.pb.ts";
import { CREATE_CERTIFICATE, createToken, initAuthority, joinAs, startAuthority } from "../support/authority.ts";
import { answerOf, beginCall, callOnce, framed, grpcSession, type GrpcAnswer } from "../support/grpc.ts";
import * as h2 from "../support/h2-raw.ts";
import { baselineOf, settlesAt } from "../support/leaks.ts";
import { memory } from "../support/proc.ts";
import { until, within } from "../support/until.ts";

const folder = mkdtempSync(join(tmpdir(), "culvert-hostile-authority-"));
const ca = await initAuthority(folder);
const authority = await startAuthority(folder, ca);
const { port, root, program } = authority;
const endless = await createToken(ca, "honest", "--reusable");
await joinAs(authority, endless);
const baseline = baselineOf(program);
/** Anonymous memory that the process may hold after all of it, MiB. */
const MOST_MIB = 160;

after(async () => {
  await program.stop();
  rmSync(folder, { recursive: true });
});

afterEach(async () => {
  assert.equal(program.exit, undefined, "it lives");
  await joinAs(authority, endless);
  assert.deepEqual(program.errors, []);
  assert.deepEqual(
    program.output.filter((line) => line.includes('"message":"defect"')),
    [],
  );
  await settlesAt(baseline, 4);
  assert(memory(program.pid).anon < MOST_MIB, `${memory(program.pid).anon} MiB`);
});

function request(parts: { readonly csr?: string; readonly metadata?: JsonObject }): Uint8Array {
  return toBinary(IstioCertificateRequestSchema, create(IstioCertificateRequestSchema, parts));
}

/** One call with these bytes as its body, whole or not. */
async function sent(body: Uint8Array, headers: Readonly<Record<string, string>> = {}): Promise<GrpcAnswer> {
  const session = await grpcSession({ port, ca: root });
  const stream = beginCall(session, CREATE_CERTIFICATE, headers);
  stream.end(body);
  const answer = await within("an answer", answerOf(stream));
  session.destroy();
  return answer;
}

/** A Struct that holds itself so deep. */
function nested(depth: number): Uint8Array {
  let value: Uint8Array = Buffer.of();
  for (let level = 0; level < depth; level += 1) {
    // Struct.fields entry { key "", value { struct_value } }.
    const inner = lengthDelimited(0x12, lengthDelimited(0x2a, value));
    value = lengthDelimited(0x0a, inner);
  }
  return lengthDelimited(0x22, value);
}

function lengthDelimited(tag: number, content: Uint8Array): Buffer {
  const length: number[] = [];
  let rest = content.length;
  for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  return Buffer.concat([Buffer.of(tag, ...length, rest), content]);
}

const frameOf = (length: number, flags = 0): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(length, 1);
  return head;
};

const bodies: readonly [what: string, body: Uint8Array, headers?: Readonly<Record<string, string>>][] = [
  ["nothing", Buffer.of()],
  ["half a frame", Buffer.of(0, 0)],
  ["a frame without its message", frameOf(100)],
  ["a frame of 4 GiB", Buffer.concat([frameOf(0xffff_ffff), Buffer.alloc(1000)])],
  ["a frame over the limit", Buffer.concat([frameOf(100_000), Buffer.alloc(100_000)])],
  ["noise", framed(Buffer.from("ff".repeat(500), "hex"))],
  ["a field that is longer than the message", framed(Buffer.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1))],
  ["a text that is no UTF-8", framed(Buffer.concat([Buffer.of(0x0a, 4), Buffer.from("fffefdfc", "hex")]))],
  ["a message that says that it is compressed", Buffer.concat([frameOf(4, 1), Buffer.alloc(4)])],
  ["a compression that nobody has", framed(request({})), { "grpc-encoding": "gzip" }],
  ["two messages", Buffer.concat([framed(request({})), framed(request({}))])],
  ["metadata a thousand deep", framed(nested(1_000))],
  ["metadata as deep as fits", framed(nested(5_000))],
  ["a request for a certificate that is none", framed(request({ csr: "x".repeat(60_000) }))],
  ["another identity of a strange kind", framed(request({ metadata: { ImpersonatedIdentity: { a: [1, null] } } }))],
  ["a deadline that is no number", framed(request({})), { "grpc-timeout": "99999999H" }],
  ["JSON", Buffer.from("{}"), { "content-type": "application/json" }],
  ["gRPC in JSON", framed(Buffer.from('{"csr":{}}')), { "content-type": "application/grpc+json" }],
  ["a token of 20,000 characters", framed(request({})), { authorization: `Bearer ${"x".repeat(20_000)}` }],
  ["two tokens", framed(request({})), { authorization: "Bearer a, Bearer b" }],
  ["a token out of its folder", framed(request({})), { authorization: "Bearer culvert-join.../../root.x" }],
];
for (const [what, body, headers] of bodies) {
  test(`${what} is refused`, async () => {
    const answer = await sent(body, headers);
    assert.notEqual(answer.status, 0);
    assert.deepEqual(answer.messages, []);
    assert(answer.message.length < 300, answer.message);
  });
}

test("what is no call of ours is answered in the words of its protocol", async () => {
  const session = await grpcSession({ port, ca: root });
  const unknown = await callOnce(session, "/istio.v1.auth.IstioCertificateService/Delete", Buffer.of());
  assert.equal(unknown.status, 12);
  const statusOf = async (fields: Record<string, string>): Promise<unknown> => {
    const stream = session.request({ ":method": "GET", ":path": CREATE_CERTIFICATE, ...fields }, { endStream: true });
    stream.resume();
    return (await within("an answer", answerOf(stream))).headers[":status"];
  };
  assert.equal(await statusOf({}), 405);
  assert.equal(await statusOf({ ":path": "/" }), 200);
  assert.equal(await statusOf({ ":method": "POST", "content-type": "text/html" }), 415);
  session.destroy();
});

test("a head over the limit is reset, and the third of them is the last", async () => {
  const session = await grpcSession({ port, ca: root });
  const closed = new Promise((resolve) => session.once("close", resolve));
  for (let index = 0; index < 4 && !session.closed && !session.destroyed; index += 1) {
    const stream = beginCall(session, CREATE_CERTIFICATE, { "x-bomb": "x".repeat(40_000) });
    stream.end();
    assert.equal((await within("an end", answerOf(stream))).status, -1);
  }
  session.destroy();
  await within("the end of the session", closed);
});

test("a caller that resets its calls as fast as it can is sent away", async () => {
  const raw = await rawCaller();
  const fields: h2.Field[] = [
    [":method", "POST"],
    [":scheme", "https"],
    [":authority", "authority"],
    [":path", CREATE_CERTIFICATE],
    ["content-type", "application/grpc"],
  ];
  for (let index = 0; index < 5_000 && !raw.closed; index += 50) {
    const pairs = Array.from({ length: 50 }, (_, at) => {
      const stream = (index + at) * 2 + 1;
      return Buffer.concat([h2.headers(stream, fields), h2.reset(stream, 8)]);
    });
    await raw.sendAll(...pairs);
  }
  await raw.end();
});

test("wrong tokens without end cost little, and fill neither log nor memory", async () => {
  const session = await grpcSession({ port, ca: root });
  const message = request({ csr: "x" });
  const statuses = new Map<number, number>();
  const lines = program.output.length;
  for (let round = 0; round < 100; round += 1) {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        callOnce(session, CREATE_CERTIFICATE, message, { authorization: `Bearer x.${round}.${index}` }),
      ),
    );
    for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  session.destroy();
  assert.deepEqual(new Set(statuses.keys()), new Set([16, 8]));
  assert((statuses.get(8) ?? 0) > 1_800, `${statuses.get(8)} were not looked at`);
  assert(program.output.length - lines < 1_500, `${program.output.length - lines} lines`);
  await until("the address to be looked at again", async () => {
    await joinAs(authority, endless);
    return true;
  });
});

const bad: readonly [what: string, options: ConnectionOptions][] = [
  ["TLS 1.2", { maxVersion: "TLSv1.2", ALPNProtocols: ["h2"] }],
  ["HTTP/1.1", { ALPNProtocols: ["http/1.1"] }],
  ["no application protocol", {}],
  ["an old curve only", { ecdhCurve: "P-521", ALPNProtocols: ["h2"] }],
];
for (const [what, options] of bad) {
  test(`a handshake with ${what} is refused`, async () => {
    const socket = connect({ host: "127.0.0.1", port, ca: root, servername: "authority", ...options });
    socket.on("error", () => undefined);
    await within("the end", new Promise((resolve) => socket.once("close", resolve)));
  });
}

test("plaintext is refused, and handshakes that are begun only make room for others", async () => {
  const plain = connectTcp(port, "127.0.0.1");
  plain.on("error", () => undefined);
  plain.write("GET / HTTP/1.1\r\nhost: authority\r\n\r\n");
  plain.resume();
  await within("the end", once(plain, "close"));
  const idle = await Promise.all(
    Array.from({ length: 400 }, async () => {
      const socket: Socket = connectTcp(port, "127.0.0.1");
      socket.on("error", () => undefined);
      await once(socket, "connect");
      return socket;
    }),
  );
  await joinAs(authority, endless);
  for (const socket of idle) socket.destroy();
});

async function rawCaller(): Promise<h2.RawH2> {
  const socket: TLSSocket = connect({
    host: "127.0.0.1",
    port,
    ca: root,
    servername: "authority",
    ALPNProtocols: ["h2"],
  });
  await within("a TLS connection", once(socket, "secureConnect"));
  const raw = new h2.RawH2(socket);
  raw.send(h2.PREFACE, h2.settings([[h2.SETTING.HEADER_TABLE_SIZE, 0]]));
  await raw.frame(({ type, flags }) => type === h2.TYPE.SETTINGS && (flags & h2.FLAG.ACK) === 0);
  raw.send(h2.settingsAck());
  return raw;
}
