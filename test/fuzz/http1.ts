// Root. `node http1.ts [RUNS] [SEED]`: feeds the HTTP/1.1 codec with mutated conversations, whole and in pieces. Where the pieces
// were cut must not matter, nothing may throw, and what goes on must be well-formed.
import assert from "node:assert/strict";
import process from "node:process";
import * as fc from "fast-check";
import { type Outcome, play, type Script } from "@culvert/waypoint/http1/play-fixtures.ts";
import { websocketAccept } from "@culvert/waypoint/http/websocket.ts";
import { mutate, mutation } from "./http1-mutation.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** Stretches of requests: the more of them are valid, the further a conversation gets. */
const REQUESTS = [
  "GET /x HTTP/1.1\r\nHost: reviews\r\n\r\n",
  "GET /a?b=c HTTP/1.1\r\nHost: reviews:9080\r\nConnection: keep-alive, x-a\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
  "HEAD /x HTTP/1.1\r\nHost: reviews\r\nX-Request-Id: a-b\r\nx_forwarded_for: 1\r\n\r\n",
  "POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Length: 5\r\n\r\nhello",
  "POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\nhello world",
  "PUT /x HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
  "PUT /x HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\ngrpc-status: 0\r\nX: y\r\n\r\n",
  `GET /x HTTP/1.1\r\nHost: reviews\r\nConnection: upgrade\r\nUpgrade: h2c, websocket\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`,
  "GET /denied HTTP/1.1\r\nHost: reviews\r\n\r\n",
  "GET /x HTTP/1.0\r\nHost: reviews\r\n\r\n",
  "\r\n",
];
const RESPONSES = [
  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
  "HTTP/1.1 204 No Content\r\n\r\n",
  "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: etag\r\n\r\n5\r\nhello\r\n0\r\netag: x\r\n\r\n",
  "HTTP/1.1 200 OK\r\n\r\nuntil the end{FIN}",
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${websocketAccept(KEY)}\r\n\r\nhello`,
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${websocketAccept(KEY)}\r\n\r\nbye{FIN}`,
  "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\n!",
];

const conversation = fc.record({
  requests: fc.array(fc.constantFrom(...REQUESTS), { minLength: 1, maxLength: 4 }),
  responses: fc.array(fc.constantFrom(...RESPONSES), { minLength: 4, maxLength: 4 }),
  requestMutations: fc.array(mutation, { maxLength: 3 }),
  responseMutations: fc.array(mutation, { maxLength: 2 }),
  ends: fc.boolean(),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
  responseCuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
});

function cutAt(text: string, shares: readonly number[]): string[] {
  const end = text.search(/\{FIN\}$/);
  const length = end < 0 ? text.length : end;
  const positions = [...new Set(shares.map((share) => Math.floor(share * length)))].toSorted((a, b) => a - b);
  const bounds = [0, ...positions.filter((position) => position > 0), text.length];
  return bounds.slice(1).map((bound, i) => text.slice(bounds[i], bound));
}

/** Everything that must hold of an outcome, whatever was sent. */
function checkOutcome(outcome: Outcome): void {
  for (const request of outcome.requests) {
    assert.match(request, /^[A-Z-]+ [!-~]+ HTTP\/1\.1 \| host: [^|]+/, "a request that goes on is well-formed");
    assert.equal(request.match(/ \| host:/gi)?.length, 1, "one Host");
    assert.ok((request.match(/ \| (content-length|transfer-encoding):/gi)?.length ?? 0) <= 1, "one framing field");
    assert.equal(request.match(/\{hop\}| \| x-culvert-via:/g)?.length, 1, "our fields, once");
  }
  const final = outcome.answers.filter((answer) => !/^HTTP\/1\.1 1\d\d/.test(answer));
  // The last exchange may still be under way.
  assert.ok(final.length <= outcome.codes.length + 1, "no answer without a request");
}

/** Runs `runs` conversations; throws with the smallest one that fails. */
export async function fuzzHttp1(runs: number, seed?: number): Promise<void> {
  await fc.assert(
    fc.asyncProperty(conversation, async (parts) => {
      const script: Script = {
        client: mutate(parts.requests.join(""), parts.requestMutations) + (parts.ends ? "{FIN}" : ""),
        responses: parts.responses.map((response, i) =>
          i === 0 ? mutate(response, parts.responseMutations) : response,
        ),
      };
      const whole = await play(script, [script.client], (response) => [response]);
      checkOutcome(whole);
      const split = await play(script, cutAt(script.client, parts.cuts), (text) => cutAt(text, parts.responseCuts));
      assert.deepEqual(split, whole, JSON.stringify(script));
    }),
    { numRuns: runs, ...(seed === undefined ? {} : { seed }) },
  );
}

if (import.meta.main) {
  const [runs = "20000", seed] = process.argv.slice(2);
  await fuzzHttp1(Number(runs), seed === undefined ? undefined : Number(seed));
  process.stdout.write(`${runs} conversations, no difference\n`);
}
