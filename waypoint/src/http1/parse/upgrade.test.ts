import assert from "node:assert/strict";
import { test } from "node:test";
import { chosenProtocol } from "./upgrade.ts";

test("the first allowed protocol is chosen, h2c is never, and others are refused", () => {
  const allowed = new Set(["websocket", "spdy/3.1"]);
  const rows: readonly (readonly [value: string, chosen: string | false | undefined])[] = [
    ["websocket", "websocket"],
    ["WebSocket", "websocket"],
    ["h2c, websocket", "websocket"],
    ["tcp , SPDY/3.1,websocket", "spdy/3.1"],
    ["h2c", undefined],
    ["H2C,h2c", undefined],
    ["", undefined],
    [" , ", undefined],
    ["tcp", false],
    ["h2c, tcp", false],
    ["websocket/13", false],
    ["websocket2", false],
    [`websocket${",".repeat(256)}`, false],
  ];
  for (const [value, chosen] of rows) assert.equal(chosenProtocol(value, allowed), chosen, value.slice(0, 40));
});
