// Machine. Sends the same odd requests through every proxy, and tells how what became of them differs.
import { differences, fateOf, traitsOf, type Difference, type Fate, type Traits } from "./compare.ts";
import { sendAll } from "./client.ts";
import { oddRequests } from "./odd-requests.ts";
import { PROXIES, startField, type ProxyName } from "./proxies.ts";

/** The seed of the table that is kept. */
export const SEED = 20_261_126;
/** Requests. */
export const COUNT = 2_000;

/** What came of it. */
export interface Findings {
  readonly rows: readonly Difference[];
  readonly traits: Readonly<Record<ProxyName, Traits>>;
}

/** Runs everything. */
export async function findDifferences(seed: number = SEED, count: number = COUNT): Promise<Findings> {
  const requests = oddRequests(seed, count);
  const field = await startField();
  try {
    const fates: Partial<Record<ProxyName, ReadonlyMap<number, Fate>>> = {};
    const traits: Partial<Record<ProxyName, Traits>> = {};
    for (const proxy of PROXIES) {
      field.recorder.forget();
      const { host, port } = field.at[proxy];
      const heard = await sendAll(host, port, requests);
      const { recorded } = field.recorder;
      fates[proxy] = new Map(
        requests.map((request) => [
          request.number,
          fateOf(request, heard.get(request.number) ?? "", recorded.get(String(request.number)) ?? []),
        ]),
      );
      traits[proxy] = traitsOf(requests, recorded);
    }
    return {
      rows: differences(requests, fates as Record<ProxyName, ReadonlyMap<number, Fate>>),
      traits: traits as Record<ProxyName, Traits>,
    };
  } finally {
    await field.stop();
  }
}
