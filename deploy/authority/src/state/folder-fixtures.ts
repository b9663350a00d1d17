// For tests: the folder of an authority, for one test.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain, workloadId } from "@culvert/shared/identity/spiffe-id.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { must } from "@culvert/test/support/must.ts";
import { createAuthority } from "../ca/certificate-authority.ts";
import { writeAuthority } from "./authority-folder.ts";
import type { AuthorityState } from "./authority-state.ts";
import { openFolderState } from "./folder-state.ts";

export const DOMAIN = must(parseTrustDomain("ours.test"));
export const REVIEWS = must(workloadId(DOMAIN, "default", "reviews"));
export const RATINGS = must(workloadId(DOMAIN, "default", "ratings"));
export const NOW = 1_800_000_000_000;
export const HOUR_MS = 3_600_000;

/** A new authority, which is removed after the test. */
export async function testFolder(context: TestContext): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), "culvert-folder-"));
  context.after(() => rm(parent, { recursive: true, force: true }));
  const folder = join(parent, "ca");
  const failure = await writeAuthority(folder, await createAuthority(DOMAIN, NOW));
  if (failure !== undefined) throw new Error(failure.toString());
  return folder;
}

/** The folder as a server has it. */
export interface ServedFolder {
  readonly state: AuthorityState;
  readonly clock: FakeClock;
  readonly failures: readonly Failure[];
}

/** Opens a folder as a server does, until the end of the test. */
export async function serveFolder(context: TestContext, folder: string): Promise<ServedFolder> {
  const clock = new FakeClock(NOW);
  const failures: Failure[] = [];
  const options = { folder, clock, onFailure: (failure: Failure) => void failures.push(failure) };
  const state = must(await openFolderState(options));
  context.after(() => state.close());
  return { state, clock, failures };
}
