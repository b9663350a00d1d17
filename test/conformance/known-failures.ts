// Pure. The conformance cases that do not pass, each with the reason.

/** Case → why it fails. */
export const KNOWN_FAILURES: Readonly<Record<string, string>> = {
  GRPCExactMethodMatching: "GRPCRoute is not read yet",
  GRPCRouteHeaderMatching: "GRPCRoute is not read yet",
  HTTPRouteBackendProtocolH2C: "backends are not spoken to in HTTP/2 yet",
  HTTPRouteBackendProtocolWebSocket: "upgrades are not served yet",
  HTTPRouteRetryConnectionError: "an application that closes is answered 502",
  MeshGRPCRouteRequestHeaderModifier: "GRPCRoute is not read yet",
  MeshGRPCRouteWeight: "GRPCRoute is not read yet",
  TCPRouteWeightedRouting: "TCPRoute is not served yet",
};
