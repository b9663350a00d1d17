// Types. What a bench measures: a subject is one way to get from the load tool to the application.
import type { Address } from "../support/envoy.ts";
import type { Program } from "../support/process.ts";

/** Where a subject may live and what it leads to; every subject of a run has its own. */
export interface Place {
  /** An empty folder for configuration. */
  readonly folder: string;
  /** Folder with the identities of the accounts that subjects use. */
  readonly identities: string;
  /** Loopback addresses that nobody else uses, numbered from 0. */
  address(index: number): string;
  /** The application that answers HTTP. */
  readonly app: Address;
  /** The application that answers HTTP/2 by prior knowledge. */
  readonly http2: Address;
  /** The application that answers gRPC. */
  readonly grpc: Address;
  /** The application that sends and takes bulk (iperf3). */
  readonly bulk: Address;
}

/** A subject that runs. */
export interface Running {
  /** Where the load tool finds the way to `place.app`. */
  readonly http: Address;
  /** Where it finds the way to `place.http2`; absent where HTTP/2 is not measured. */
  readonly http2?: Address;
  /** Where it finds the way to `place.grpc`; absent where gRPC is not measured. */
  readonly grpc?: Address;
  /** Where it finds the way to `place.bulk`; absent where bulk is not measured. */
  readonly bulk?: Address;
  /** The processes that are measured, by their part in the way. */
  readonly parts: ReadonlyMap<string, Program>;
}

/** One way from the load tool to the application. */
export interface Subject {
  readonly name: string;
  /** One line for the table's legend. */
  readonly about: string;
  /** Starts it. The part that takes the connections is started last and not waited for, so that its start can be timed. */
  start(place: Place): Promise<Running>;
}

/** Named figures of one measurement. */
export type Figures = Readonly<Record<string, number>>;
