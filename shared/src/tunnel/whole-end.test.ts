// An end, and a reset without an error right behind it, while our own end waits for room: what an application sends that answers
// before it has read the request (RFC 9113 section 8.1). A fact of the runtime: a version that changes it fails here.
import { equal } from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import type { Socket } from "node:net";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import * as h2 from "@culvert/test/support/h2-raw.ts";
import { isWholeEnd, watchEnd } from "./whole-end.ts";

const OK: readonly h2.Field[] = [[":status", "200"]];
const STATUS: readonly h2.Field[] = [["grpc-status", "0"]];
const LAST = h2.FLAG.END_HEADERS | h2.FLAG.END_STREAM;

const answers: Readonly<Record<string, { readonly frames: readonly Buffer[]; readonly whole: boolean }>> = {
  "a head alone": { frames: [h2.headers(1, OK, LAST)], whole: true },
  "a head and data": { frames: [h2.headers(1, OK), h2.data(1, "answer", h2.FLAG.END_STREAM)], whole: true },
  trailers: { frames: [h2.headers(1, OK), h2.data(1, "answer"), h2.headers(1, STATUS, LAST)], whole: true },
  "a head without an end": { frames: [h2.headers(1, OK)], whole: false },
  "data without an end": { frames: [h2.headers(1, OK), h2.data(1, "half an ans")], whole: false },
};

for (const [what, { frames, whole }] of Object.entries(answers)) {
  test(`${what}, and a reset: ${whole ? "whole" : "cut short"}`, async () => {
    // Not over a socket, which has the runtime's ticks run between two frames of one read.
    const [near, far] = duplexPair();
    const peer = new h2.RawH2(far as Socket, h2.PREFACE.length);
    const session = connect("http://app", { createConnection: () => near });
    peer.send(h2.settings([[h2.SETTING.INITIAL_WINDOW_SIZE, 0]]), h2.settingsAck());
    await once(session, "remoteSettings");
    const stream = session.request({ ":method": "POST" }, { endStream: false });
    let seen = false;
    watchEnd(stream);
    stream.on("end", () => (seen = isWholeEnd(stream))).resume();
    stream.end("request");
    await peer.frame(({ type }) => type === h2.TYPE.HEADERS);
    peer.send(...frames, h2.reset(1, 0));
    await once(stream, "close");
    equal(seen, whole);
    session.destroy();
  });
}
