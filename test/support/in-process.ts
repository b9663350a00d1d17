// For tests: a service that joins the mesh under test within this very process.
import { openMesh, type Mesh as InProcess, type MeshConfiguration } from "@culvert/in-process";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import { PORTS, type LogLine, type Mesh } from "./mesh.ts";
import { until } from "./until.ts";

/** A service in this process. */
export interface Insider {
  readonly mesh: InProcess;
  /** Its log so far. */
  readonly log: readonly LogLine[];
  /** Waits for the access-log line of a connection that has all of `fields`. */
  access(fields: LogLine): Promise<LogLine>;
}

/** Joins as a workload, and leaves before the mesh is stopped. */
export async function joinMesh(
  mesh: Mesh,
  {
    name,
    address,
    ...config
  }: { readonly name: string; readonly address: string } & Partial<
    Omit<MeshConfiguration, "identity" | "workload" | "inbound">
  >,
): Promise<Insider> {
  const { folder } = await mesh.issue(name);
  const log: LogLine[] = [];
  const joined = await openMesh(
    {
      identity: { files: folder },
      resources: { files: mesh.resources },
      workload: { name },
      inbound: { hbone: formatHostPort(address, PORTS.hbone) },
      drain: { timeout: "5s" },
      log: { level: "debug" },
      ...config,
    },
    { log: (line) => log.push(JSON.parse(line) as LogLine) },
  );
  mesh.atEnd(() => joined.close());
  const access = (fields: LogLine): Promise<LogLine> =>
    until(`an access line with ${JSON.stringify(fields)}`, () =>
      log.find(
        (line) => line["target"] === "access" && Object.entries(fields).every(([key, value]) => line[key] === value),
      ),
    );
  return { mesh: joined, log, access };
}
