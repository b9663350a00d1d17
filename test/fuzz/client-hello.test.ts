import { test } from "node:test";
import { fuzzClientHello } from "./client-hello.ts";

test("ClientHello: whatever comes and in whatever pieces, nothing throws and one thing is read", () => {
  fuzzClientHello(5000);
});
