import assert from "node:assert/strict";
import { test } from "node:test";
import { array, assert as check, constantFrom, integer, property, tuple } from "fast-check";
import { buildSnapshot } from "../build.ts";
import { loadDocuments } from "../load.ts";
import { routing } from "../routing/routing.ts";
import type { Problem } from "../snapshot.ts";
import { parseResource } from "./parse-resource.ts";
import type { Resource } from "./resource.ts";

const MESH = `apiVersion: v1
kind: Service
metadata: {name: reviews, labels: {istio.io/use-waypoint: waypoint}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080, appProtocol: http}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-1, labels: {app: reviews}}
spec: {address: 10.0.0.5, serviceAccount: reviews}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint}
spec: {gatewayClassName: culvert-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules:
  - matches: [{path: {value: /a}, headers: [{name: a, value: b}], queryParams: [{type: RegularExpression, name: c, value: d+}]}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]
    backendRefs: [{name: reviews, port: 9080, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [e]}}]}]
    timeouts: {request: 1s, backendRequest: 500ms}
    retry: {codes: [503], attempts: 2, backoff: 10ms}
    sessionPersistence: {type: Header, idleTimeout: 1h}
  - filters: [{type: ExtensionRef, extensionRef: {group: culvert.dev, kind: HTTPFilter, name: f}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: g}
spec: {parentRefs: [{group: "", kind: Service, name: reviews}], rules: [{matches: [{method: {service: a.B, method: C}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: t}
spec: {parentRefs: [{group: "", kind: Service, name: reviews}], hostnames: [a.b], rules: [{backendRefs: [{name: reviews, port: 9080}]}]}
---
apiVersion: culvert.dev/v1alpha1
kind: HTTPFilter
metadata: {name: f}
spec: {directResponse: {status: 503, body: no}, fault: {delay: {duration: 1s}, abort: {grpcStatus: 14, percent: 0.5}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: b}
spec:
  targetRefs: [{group: "", kind: Service, name: reviews}]
  validation: {hostname: a.b, caCertificateRefs: [{group: "", kind: Secret, name: s}]}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {ca.crt: aGk=, tls.key: c2VjcmV0}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p}
spec:
  action: DENY
  selector: {matchLabels: {app: reviews}}
  rules: [{from: [{source: {principals: ["a*"], ipBlocks: [10.0.0.0/8]}}], to: [{operation: {ports: ["80"]}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: q}
spec: {selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}}
`;

const scraps = constantFrom(
  ...Array.from("[]{}:,~|>%?#*&!'\"\t\n"),
  "- ",
  "  ",
  "null",
  "__proto__",
  "true",
  "1e9",
  "&a ",
  "*a",
  "!x ",
  "---\n",
);
const edits = array(tuple(integer({ min: 0, max: MESH.length }), integer({ min: 0, max: 12 }), scraps), {
  maxLength: 5,
});

test("a mesh with slips in it is read or refused, and never throws", () => {
  check(
    property(edits, (slips) => {
      let text = MESH;
      for (const [at, deleted, scrap] of slips) text = text.slice(0, at) + scrap + text.slice(at + deleted);
      const resources: Resource[] = [];
      const problems: Problem[] = [];
      for (const loaded of loadDocuments("f", Buffer.from(text))) {
        if ("error" in loaded) {
          assert.ok(!loaded.error.text.startsWith("cannot be parsed"), "the YAML library threw");
          continue;
        }
        const parsed = parseResource(loaded.node, routing.kinds);
        resources.push(...parsed.resources);
        problems.push(...parsed.problems);
      }
      const snapshot = buildSnapshot(1, { resources, problems }, () => [], routing);
      assert.doesNotThrow(() => JSON.stringify([routing.dump(snapshot), routing.statusObjects(snapshot, "now")]));
      for (const { parents } of snapshot.statuses)
        for (const { conditions } of parents) assert.ok(conditions.length >= 2);
      for (const policy of snapshot.policies) {
        // What a policy does not understand is told, and what it is told it does not understand.
        const told = problems.some(({ resource }) => resource === `AuthorizationPolicy ${policy.uid}`);
        assert.equal(policy.notUnderstood !== undefined, told);
      }
    }),
    { numRuns: 300 },
  );
});
