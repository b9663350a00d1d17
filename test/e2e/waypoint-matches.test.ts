// Matches from the resource on disk to the rule that serves: regular expressions, query parameters, and what is wrong with either.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { field } from "../support/http-message.ts";
import { request, verdictOf, type HttpWire } from "../support/http-wire.ts";
import { httpRoute, type Resource } from "../support/resources.ts";
import { SHOP, startShop, type Shop } from "../support/shop.ts";

/** A rule that leads to the shop and puts its name on every response. */
function rule(name: string, ...matches: readonly object[]): object {
  return {
    name,
    matches,
    filters: [{ type: "ResponseHeaderModifier", responseHeaderModifier: { set: [{ name: "x-rule", value: name }] } }],
    backendRefs: [{ name: "shop", port: SHOP.http }],
  };
}

const regex = (value: string) => ({ path: { type: "RegularExpression", value } });

function routes(...rules: readonly object[]): readonly Resource[] {
  return [httpRoute("matches", "shop", rules)];
}

describe("what routes match by", () => {
  let shop: Shop;
  let wire: HttpWire;

  before(async () => {
    shop = await startShop();
    wire = await shop.dial();
  });

  after(async () => {
    wire.close();
    await shop.mesh.stop();
  });

  /** The rule that has served a request; else status and code. */
  async function served(target: string, headers: Readonly<Record<string, string>> = {}): Promise<string> {
    const answer = await wire.ask(request("GET", target, headers));
    return field(answer.head, "x-rule") ?? verdictOf(answer);
  }

  test("regular expressions match whole values, of paths, headers and parameters", async () => {
    await shop.put(
      "routes",
      routes(
        rule("order", regex("/orders/[0-9]+")),
        rule("items", regex("/orders/[0-9]+/items(/.*)?")),
        rule("orders", { path: { type: "PathPrefix", value: "/orders" } }),
        rule("header", { headers: [{ name: "X-Client", type: "RegularExpression", value: "ios|android-v[0-9]" }] }),
        rule("query", { queryParams: [{ name: "id", type: "RegularExpression", value: "[a-f0-9]{8}" }] }),
        rule("exact", { queryParams: [{ name: "q", value: "c&d e" }] }),
      ),
    );
    for (const [target, headers, expected] of [
      ["/orders/7", {}, "order"],
      ["/orders/7/items", {}, "items"],
      ["/orders/7/items/x/y", {}, "items"],
      ["/orders/7/other", {}, "orders"],
      ["/orders/seven", {}, "orders"],
      ["/x/../orders/%37", {}, "order"],
      ["/", { "x-client": "android-v2" }, "header"],
      ["/", { "x-client": "android-v22" }, "404 ROUTE_NOT_FOUND"],
      ["/?id=deadbeef", {}, "query"],
      ["/?id=deadbeef0", {}, "404 ROUTE_NOT_FOUND"],
      ["/?q=c%26d+e", {}, "exact"],
      ["/?%71=c%26d%20e", {}, "exact"],
      ["/?q=c&d+e", {}, "404 ROUTE_NOT_FOUND"],
      ["/?id=x&id=deadbeef", {}, "404 ROUTE_NOT_FOUND"],
    ] as const) {
      assert.equal(await served(target, headers), expected, `${target} ${JSON.stringify(headers)}`);
    }
  });

  test("an expression that stalls others stalls nobody, and a value beyond its bound is refused", async () => {
    await shop.put("routes", routes(rule("evil", regex("/(a+)+(b|c)?(a*){100}")), rule("else", {})));
    const began = performance.now();
    assert.equal(await served(`/${"a".repeat(1_000)}!`), "else");
    assert.equal(await served(`/${"a".repeat(1_000)}`), "evil");
    assert.ok(performance.now() - began < 10_000);
    assert.equal(await served(`/${"a".repeat(30_000)}`), "431 REQUEST_TOO_LARGE");
    assert.equal(await served("/b"), "else", "the next one is served");
  });

  test("an expression that is none makes the route fail closed, and it says why", async () => {
    await shop.put("routes", routes(rule("bad", regex("/(?=a)")), rule("else", {})));
    assert.equal(await served("/b"), "500 ROUTE_NOT_UNDERSTOOD");
    const line = await shop.waypoint.access({ code: "ROUTE_NOT_UNDERSTOOD", path: "/b" });
    assert.match(JSON.stringify(line), /spec\.rules\[0\]\.matches\[0\]\.path\.value: the regular expression/);
  });
});
