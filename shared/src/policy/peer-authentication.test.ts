import assert from "node:assert/strict";
import { it } from "node:test";
import type { PeerAuthentication } from "./authorization.ts";
import { effectiveMode, effectiveModes, modeOfPort } from "./peer-authentication.ts";

type Mode = PeerAuthentication["mode"];

function resource(
  namespace: string,
  mode: Mode,
  labels?: Record<string, string>,
  ports: Record<number, Mode> = {},
): PeerAuthentication {
  return {
    uid: `${namespace}/p`,
    namespace,
    name: "p",
    selector: labels === undefined ? undefined : new Map(Object.entries(labels)),
    mode,
    portModes: new Map(Object.entries(ports).map(([port, portMode]) => [Number(port), portMode])),
    notUnderstood: undefined,
  };
}

const WORKLOAD = { namespace: "default", labels: new Map([["app", "reviews"]]) };
const OWN = { app: "reviews" };

const ROWS: readonly [string, readonly PeerAuthentication[], string][] = [
  ["none", [], "PERMISSIVE"],
  ["mesh", [resource("istio-system", "STRICT")], "STRICT"],
  ["namespace over mesh", [resource("istio-system", "STRICT"), resource("default", "PERMISSIVE")], "PERMISSIVE"],
  ["workload over namespace", [resource("default", "PERMISSIVE"), resource("default", "STRICT", OWN)], "STRICT"],
  ["another workload's", [resource("default", "STRICT", { app: "other" })], "PERMISSIVE"],
  ["another namespace's", [resource("other", "STRICT"), resource("other", "STRICT", OWN)], "PERMISSIVE"],
  ["a selector in the root namespace selects there only", [resource("istio-system", "STRICT", OWN)], "PERMISSIVE"],
  ["unset asks the next", [resource("default", "UNSET", OWN), resource("default", "STRICT")], "STRICT"],
  ["unset everywhere", [resource("default", "UNSET"), resource("istio-system", "UNSET")], "PERMISSIVE"],
  ["port over workload", [resource("default", "STRICT", OWN, { 9080: "DISABLE" })], "DISABLE"],
  ["another port", [resource("default", "STRICT", OWN, { 80: "DISABLE" })], "STRICT"],
  ["port unset", [resource("default", "STRICT", OWN, { 9080: "UNSET" })], "STRICT"],
  ["strictest of equals", [resource("default", "DISABLE", OWN), resource("default", "PERMISSIVE", OWN)], "PERMISSIVE"],
  ["strict of equals", [resource("default", "PERMISSIVE"), resource("default", "STRICT")], "STRICT"],
  ["not understood", [{ ...resource("default", "PERMISSIVE"), notUnderstood: "x" }], "STRICT"],
  ["empty selector is the namespace", [resource("default", "STRICT", {})], "STRICT"],
];

for (const [name, resources, expected] of ROWS) {
  it(name, () => {
    assert.equal(effectiveMode(resources, WORKLOAD, 9080), expected);
    const modes = effectiveModes(resources, WORKLOAD);
    for (const port of [80, 9080, 9081]) {
      assert.equal(modeOfPort(modes, port), effectiveMode(resources, WORKLOAD, port), `port ${port}`);
    }
  });
}
