// Pure. Where something runs, and how near that is to somebody else.

/** A place as the resources say it; `undefined` for what they do not say. */
export interface Locality {
  readonly region: string | undefined;
  readonly zone: string | undefined;
  readonly subzone: string | undefined;
}

/** A place down to the node. */
export interface Place {
  readonly locality: Locality;
  readonly node: string | undefined;
}

/** Which endpoints of a service are to be preferred (`trafficDistribution`); the others take over when none of these can. */
export type Preference = "same-node" | "same-zone";

/** Well-known labels of Kubernetes, and Istio's for what Kubernetes has no word for. */
export const REGION_LABEL = "topology.kubernetes.io/region";
export const ZONE_LABEL = "topology.kubernetes.io/zone";
export const SUBZONE_LABEL = "topology.istio.io/subzone";

/** The locality of a workload: `region/zone/subzone` as WorkloadEntry has it, else its labels. */
export function localityOf(written: string | undefined, labels: ReadonlyMap<string, string>): Locality {
  const [region, zone, subzone] = written === undefined ? [] : written.split("/", 3);
  return {
    region: region || labels.get(REGION_LABEL),
    zone: zone || labels.get(ZONE_LABEL),
    subzone: subzone || labels.get(SUBZONE_LABEL),
  };
}

/**
 * How far `there` is from `here`: 0 is nearest. With `same-node`: the node, then as with `same-zone`: the zone, the region, the
 * rest. What is not known is not near.
 */
export function distance(here: Place, there: Place, preference: Preference): number {
  if (preference === "same-node" && here.node !== undefined && here.node === there.node) return 0;
  const { region, zone } = here.locality;
  if (region !== there.locality.region) return 3;
  if (zone !== undefined && zone === there.locality.zone) return 1;
  return region === undefined ? 3 : 2;
}

/** `region/zone/subzone`, for people; empty when nothing is known. */
export function formatLocality({ region, zone, subzone }: Locality): string {
  return [region, zone, subzone]
    .map((part) => part ?? "")
    .join("/")
    .replace(/\/+$/, "");
}
