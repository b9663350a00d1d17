// Types. How one kind of resource is read.
import type { Fields } from "./fields.ts";
import type { Report, Severity } from "./report.ts";
import type { Metadata, Resource } from "./resource.ts";

/** One kind of resource. */
export interface KindReader {
  /** API group; empty for the core of Kubernetes. */
  readonly group: string;
  readonly versions: readonly string[];
  /** What a malformed value means: policies and routes fail closed by themselves, the others need the whole folder. */
  readonly malformed: Severity;
  /** Where its content stands beside `metadata`; absent: in `spec` and `status`. */
  readonly fields?: readonly string[];
  read(metadata: Metadata, document: Fields, report: Report): Resource | undefined;
}

/** Kinds by their name. */
export type Kinds = ReadonlyMap<string, KindReader>;
