import { test } from "node:test";
import { fuzzHttp1 } from "./http1.ts";

test("HTTP/1.1: where a conversation is cut does not matter, and what goes on is well-formed", async () => {
  await fuzzHttp1(2000);
});
