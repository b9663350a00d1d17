// Pure. The conformance cases that do not pass, each with the reason.

/** Case → why it fails. */
export const KNOWN_FAILURES: Readonly<Record<string, string>> = {
  MeshConsumerRoute: "filters are not applied yet",
  MeshFrontend: "filters are not applied yet",
  MeshFrontendHostname: "filters are not applied yet",
  MeshGRPCRouteRequestHeaderModifier: "GRPCRoute is not read yet",
  MeshGRPCRouteWeight: "GRPCRoute is not read yet",
  MeshHTTPRoute303Redirect: "filters are not applied yet",
  MeshHTTPRoute307Redirect: "filters are not applied yet",
  MeshHTTPRoute308Redirect: "filters are not applied yet",
  MeshHTTPRouteBackendRequestHeaderModifier: "filters are not applied yet",
  MeshHTTPRouteRedirectHostAndStatus: "filters are not applied yet",
  MeshHTTPRouteRedirectPath: "filters are not applied yet",
  MeshHTTPRouteRedirectPort: "filters are not applied yet",
  MeshHTTPRouteRequestHeaderModifier: "filters are not applied yet",
  MeshHTTPRouteRewritePath: "filters are not applied yet",
  MeshHTTPRouteSchemeRedirect: "filters are not applied yet",
  MeshPorts: "filters are not applied yet",
};
