// Machine. The way to the authority that resources come from: mutual TLS with the own certificate, which is all that says who asks.
import { isFailure, type Failure } from "../../failure/failure.ts";
import type { GrpcClient } from "../../grpc/client.ts";
import { grpcTo, readRoots, tlsTo } from "../../identity/sources/certificate-signer.ts";
import type { Identity } from "../../identity/source.ts";
import type { Clock } from "../../net/clock.ts";
import type { ResourceAuthority } from "../process/process-config.ts";
import { FRAME_LIMITS } from "./frames.ts";

/** A client whose session shows `own`. Fails as reading the roots does. */
export async function clientOf(
  { address, bundle, serverName }: ResourceAuthority,
  own: Identity,
  clock: Clock,
): Promise<GrpcClient | Failure> {
  const tls = await tlsTo({ bundle, serverName }, own);
  if (isFailure(tls)) return tls;
  return grpcTo(address, () => ({ ...tls, minVersion: "TLSv1.3" }), clock, FRAME_LIMITS.serverBytes);
}

/** What is wrong with the file of roots, where there is one. */
export async function unfitRoots({ bundle }: ResourceAuthority): Promise<Failure | undefined> {
  const roots = bundle === undefined ? undefined : await readRoots(bundle);
  return isFailure(roots) ? roots : undefined;
}
