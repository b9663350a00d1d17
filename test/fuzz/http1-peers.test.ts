import { test } from "node:test";
import { fuzzHttp1Peers } from "./http1-peers.ts";

test("HTTP/1.1: what we and llhttp take for a message is the same message, and chunks end where a slow reader says", () => {
  fuzzHttp1Peers(3000);
});
