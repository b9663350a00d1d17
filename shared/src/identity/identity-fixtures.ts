// For tests: one authority, two certificates of one workload, and fresh folders that hold them.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import type { Minted, TestAuthority } from "@culvert/test/support/ca.ts";
import type { LAYOUTS } from "@culvert/test/support/identity.ts";
import { writeIdentityFolder } from "@culvert/test/support/identity.ts";

export const authority: TestAuthority = await testAuthority("ours.test");
export const name: string = svidName(authority, "default", "reviews");
export const first: Minted = await mintSvid(authority, name);
export const second: Minted = await mintSvid(authority, name);

/** A folder for the whole file, removed at its end. */
export const root: string = await mkdtemp(join(tmpdir(), "culvert-identity-"));
after(() => rm(root, { recursive: true, force: true }));
let folders = 0;

/** A fresh folder with a good identity in it. */
export async function folderWith(minted: Minted = first, layout: keyof typeof LAYOUTS = "culvert"): Promise<string> {
  folders += 1;
  const folder = join(root, `${folders}`);
  await writeIdentityFolder(folder, minted, authority, layout);
  return folder;
}
