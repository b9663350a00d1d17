// Pure. What came of the cases, as the report that Gateway API asks of implementations: a ConformanceReport, with a profile for each group
// of features. In difference to the suite itself, a case whose features no mesh profile names counts as extended, so that none is lost.
import type { Case } from "./case.ts";
import type { Outcome } from "./runner.ts";

/** Release of Gateway API whose cases these are. */
const GATEWAY_API_VERSION = "v1.6.3";

/** The mesh features beyond the core, as `pkg/features` of Gateway API has them. */
const MESH_EXTENDED: readonly string[] = [
  "MeshClusterIPMatching",
  "MeshConsumerRoute",
  "MeshHTTPRouteBackendRequestHeaderModification",
  "MeshHTTPRouteNamedRouteRule",
  "MeshHTTPRouteQueryParamMatching",
  "MeshHTTPRouteRedirectPath",
  "MeshHTTPRouteRedirectPort",
  "MeshHTTPRouteRewritePath",
  "MeshHTTPRouteSchemeRedirect",
];

interface Profile {
  readonly name: string;
  readonly core: readonly string[];
  holds(one: Case): boolean;
}

const PROFILES: readonly Profile[] = [
  {
    name: "MESH-HTTP",
    core: ["Mesh", "HTTPRoute"],
    holds: ({ suite, features }) => suite === "mesh" && !features.includes("GRPCRoute"),
  },
  {
    name: "MESH-GRPC",
    core: ["Mesh", "GRPCRoute"],
    holds: ({ suite, features }) => suite === "mesh" && !features.includes("HTTPRoute"),
  },
  {
    // A profile of our own: cases that the suite has for gateways, on a Service.
    name: "GATEWAY-ON-SERVICE",
    core: ["HTTPRoute", "GRPCRoute"],
    holds: ({ suite }) => suite === "gateway",
  },
];

/** One level of a profile. */
export interface Level {
  readonly result: "success" | "partial" | "failure";
  readonly statistics: { readonly Passed: number; readonly Skipped: number; readonly Failed: number };
  readonly failedTests?: readonly string[];
  readonly skippedTests?: readonly string[];
  readonly supportedFeatures?: readonly string[];
  readonly unsupportedFeatures?: readonly string[];
}

/** One profile of a report. */
export interface ProfileReport {
  readonly name: string;
  readonly summary: string;
  readonly core: Level;
  readonly extended?: Level;
}

/** The report, ready to become YAML. */
export interface ConformanceReport {
  readonly apiVersion: "gateway.networking.k8s.io/v1";
  readonly kind: "ConformanceReport";
  readonly implementation: Readonly<Record<string, unknown>>;
  readonly date: string;
  readonly gatewayAPIVersion: string;
  readonly gatewayAPIChannel: "standard" | "experimental";
  readonly mode: string;
  readonly profiles: readonly ProfileReport[];
  readonly succeededProvisionalTests: readonly string[];
}

/** A case with what came of it; `undefined`: it was not run. */
export interface Run {
  readonly of: Case;
  readonly outcome: Outcome | undefined;
}

/** Whose report it is, and of what. */
export interface About {
  readonly organization: string;
  readonly url: string;
  readonly contact: readonly string[];
  readonly version: string;
  readonly date: string;
  /** With what the cases were run. */
  readonly mode: string;
}

/** Makes the report. */
export function conformanceReport(runs: readonly Run[], about: About): ConformanceReport {
  const profiles = PROFILES.flatMap((profile) => {
    const held = runs.filter(({ of }) => profile.holds(of));
    return held.length === 0 ? [] : [profileReport(profile, held)];
  });
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "ConformanceReport",
    implementation: {
      organization: about.organization,
      project: "culvert",
      url: about.url,
      version: about.version,
      contact: about.contact,
    },
    date: about.date,
    gatewayAPIVersion: GATEWAY_API_VERSION,
    gatewayAPIChannel: "standard",
    mode: about.mode,
    profiles,
    succeededProvisionalTests: runs.filter(({ of, outcome }) => of.provisional && hasPassed(outcome)).map(nameOf),
  };
}

function hasPassed(outcome: Outcome | undefined): boolean {
  return outcome?.problems.length === 0;
}

function nameOf({ of }: Run): string {
  return of.name;
}

function profileReport({ name, core }: Profile, runs: readonly Run[]): ProfileReport {
  const isCore = ({ of }: Run): boolean => of.features.every((feature) => core.includes(feature));
  const basic = levelOf(runs.filter(isCore));
  const others = runs.filter((run) => !isCore(run));
  const summary = `Core tests ${inWords(basic)}.`;
  if (others.length === 0) return { name, summary, core: basic };
  const named = new Set(others.flatMap(({ of }) => of.features).filter((feature) => !core.includes(feature)));
  const mesh = name === "MESH-HTTP" ? MESH_EXTENDED : [];
  const asked = [...new Set([...mesh, ...named])].toSorted();
  const isSupported = (feature: string): boolean => {
    const about = others.filter(({ of }) => of.features.includes(feature));
    return about.length > 0 && about.every(({ outcome }) => hasPassed(outcome));
  };
  const extended = {
    ...levelOf(others),
    supportedFeatures: asked.filter(isSupported),
    unsupportedFeatures: asked.filter((feature) => !isSupported(feature)),
  };
  return { name, summary: `${summary.slice(0, -1)}. Extended tests ${inWords(extended)}.`, core: basic, extended };
}

function levelOf(runs: readonly Run[]): Level {
  const failed = runs.filter(({ outcome }) => outcome !== undefined && !hasPassed(outcome)).map(nameOf);
  const skipped = runs.filter(({ outcome }) => outcome === undefined).map(nameOf);
  return {
    result: failed.length > 0 ? "failure" : skipped.length > 0 ? "partial" : "success",
    statistics: {
      Passed: runs.length - failed.length - skipped.length,
      Skipped: skipped.length,
      Failed: failed.length,
    },
    ...(failed.length === 0 ? {} : { failedTests: failed }),
    ...(skipped.length === 0 ? {} : { skippedTests: skipped }),
  };
}

function inWords({ result, statistics }: Level): string {
  if (result === "success") return "succeeded";
  if (result === "partial") return `partially succeeded with ${statistics.Skipped} test skips`;
  return `failed with ${statistics.Failed} test failures`;
}

/** Passed and all cases of each feature, by its name. */
export function byFeature(runs: readonly Run[]): readonly { feature: string; passed: number; all: number }[] {
  const features = [...new Set(runs.flatMap(({ of }) => of.features))].toSorted();
  return features.map((feature) => {
    const about = runs.filter(({ of }) => of.features.includes(feature));
    return { feature, passed: about.filter(({ outcome }) => hasPassed(outcome)).length, all: about.length };
  });
}
