// Pure. The matrix: where L7 is done, how an app's connections come into the mesh, and where programs have their resources from.
import type { Placement } from "@culvert/shared/workload/workload.ts";

/** Where L7 is done; `none`: nowhere. */
export type Architecture = Placement | "none";
export const ARCHITECTURES: readonly Architecture[] = ["none", "remote", "node", "service-account", "sidecar"];

/** How an app comes into the mesh: a port that leads to one place, a proxy that it is told to use, or rules that turn its connections. */
export type Capture = "listener" | "connect" | "socks" | "transparent";
export const CAPTURES: readonly Capture[] = ["listener", "connect", "socks", "transparent"];

/** Where programs have their resources from. */
export type Source = "files" | "authority";
export const SOURCES: readonly Source[] = ["files", "authority"];

/** What of a body an architecture must have. */
export type Wants = "waypoint" | "anything";

/** Why a body has no meaning in an architecture; `false` where it has. */
export function skipReason(architecture: Architecture, wants: Wants): string | false {
  if (wants === "anything" || architecture !== "none") return false;
  return "without a waypoint nothing reads HTTP";
}
