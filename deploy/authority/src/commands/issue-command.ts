// Root. `authority issue`: one SVID for one service account.
import { EXIT, wrongUsage } from "@culvert/shared/config/cli.ts";
import type { Command, Complaint } from "@culvert/shared/config/cli.ts";
import { parseDuration } from "@culvert/shared/config/units.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { workloadId } from "@culvert/shared/identity/spiffe-id.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { MAX_SVID_LIFE_MS, MIN_SVID_LIFE_MS, issueSvid } from "../ca/certificate-authority.ts";
import type { IssuedSvid } from "../ca/certificate-authority.ts";
import { bundlePemOf, readRoots, tidyFolder } from "../state/authority-folder.ts";
import { whileLocked } from "../state/folder-lock.ts";
import { renewIntermediates } from "../state/renewal.ts";
import { appendIssued } from "../state/issued-log.ts";
import { svidFolderProblem, writeSvid } from "../state/svid-folder.ts";

const DEFAULT_TTL = "24h";

/** `authority issue DIR --namespace NS --service-account SA [--ttl 24h] --out DIR2`. */
export const issueCommand: Command = {
  name: "issue",
  summary: "issue one SVID: svid.pem (with the intermediate), key.pem (mode 0600), bundle.pem",
  positionals: [{ name: "DIR", help: "folder of the authority" }],
  options: [
    { name: "namespace", value: "NS", required: true, help: "namespace of the workload" },
    { name: "service-account", value: "SA", required: true, help: "service account of the workload" },
    {
      name: "ttl",
      value: DEFAULT_TTL,
      help: `life of the certificate, 1m to 2160h (90 days); ${DEFAULT_TTL} when not given`,
    },
    {
      name: "out",
      value: "DIR2",
      required: true,
      help: "folder for the files; an earlier SVID of the same identity is replaced",
    },
  ],
  run: async (args, io) => {
    const folder = args.required("DIR");
    const out = args.required("out");
    const ttl = args.text("ttl") ?? DEFAULT_TTL;
    const lifeMs = parseDuration(ttl);
    if (lifeMs === undefined)
      return wrongUsage(`--ttl: expected a duration such as 90m or 24h, found ${JSON.stringify(ttl)}`);
    if (lifeMs < MIN_SVID_LIFE_MS || lifeMs > MAX_SVID_LIFE_MS) {
      return wrongUsage(`--ttl: expected 1m to 2160h (90 days), found ${ttl}`);
    }
    const stored = await readRoots(folder);
    if (isFailure(stored)) return failed(stored);
    const id = workloadId(stored.trustDomain, args.required("namespace"), args.required("service-account"));
    if (isFailure(id)) return wrongUsage(`--namespace or --service-account: ${id.detail}`);
    const svid = await whileLocked(folder, () => issueInto(folder, id, lifeMs, out));
    if (isFailure(svid)) return failed(svid);
    io.out(`${id} in ${out}, valid until ${new Date(svid.notAfter).toISOString()}\n`);
    return EXIT.done;
  },
};

/** Issues, notes and writes; noted first, so that nothing is out there that cannot be revoked by its identity. */
async function issueInto(folder: string, id: SpiffeId, lifeMs: number, out: string): Promise<IssuedSvid | Failure> {
  const now = systemClock.now();
  const tidied = await tidyFolder(folder);
  if (isFailure(tidied)) return tidied;
  const roots = await renewIntermediates(folder, now);
  if (isFailure(roots)) return roots;
  const occupied = await svidFolderProblem(out, id);
  if (occupied !== undefined) return occupied;
  const { signing } = roots;
  const issued = issueSvid(signing.authority, id, lifeMs, now);
  if (isFailure(issued)) return issued;
  const svid = { ...issued, bundlePem: bundlePemOf(roots) };
  const { serial, notAfter } = svid;
  const unkept = await appendIssued(folder, [{ serial, rootId: signing.id, issuedAt: now, notAfter, id }]);
  return unkept ?? (await writeSvid(out, svid)) ?? svid;
}

function failed(failure: Failure): Complaint {
  return { exit: EXIT.failed, message: failure.detail };
}
