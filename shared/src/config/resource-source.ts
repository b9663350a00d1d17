// Types. Where the mesh resources of a running process come from: a source that can be told to look again, and what it reports.
import type { ConfigSource, Problem, Snapshot } from "./snapshot.ts";
import type { StreamStatus } from "./stream/stream-options.ts";

/** What a source of resources reports; each is sent once per change. */
export type ResourceEvent =
  /** A snapshot is in use from now on, the first one included; its `problems` are the resources that fail closed. */
  | { readonly kind: "swapped"; readonly snapshot: Snapshot }
  /** The source now holds errors: the last good snapshot stays in use. */
  | { readonly kind: "kept"; readonly problems: readonly Problem[] }
  /** The source cannot be used, and what was saved last is in use instead; it was saved at `savedAt`, ms since the epoch. */
  | { readonly kind: "restored"; readonly savedAt: number; readonly problems: readonly Problem[] }
  /** What an earlier process saved cannot be used, whether or not it is needed. */
  | { readonly kind: "not-restored"; readonly text: string }
  /** What is in use could not be saved for the next start. */
  | { readonly kind: "not-saved"; readonly text: string }
  /** A DNS name of a WorkloadEntry or ServiceEntry cannot be resolved; its last good addresses stay. */
  | { readonly kind: "name-unresolved"; readonly host: string; readonly text: string };

/** A source of resources that runs. */
export interface ResourceSource extends ConfigSource {
  /** When the source was last seen to hold what is in use, milliseconds since the epoch. */
  readonly asOf: number;
  /** Whether what is in use was read from the last good snapshot, and the source has not been usable since. */
  readonly isRestored: boolean;
  /** Looks again now (SIGHUP); resolves when the outcome is in use or reported. */
  reload(): Promise<void>;
  /** How the stream stands that the resources come by, where they come by one. */
  readonly stream?: StreamStatus;
}
