// Root. `authority init`: a new authority in a new folder.
import { EXIT, wrongUsage } from "@culvert/shared/config/cli.ts";
import type { CliIo, Command, Complaint, ExitCode } from "@culvert/shared/config/cli.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { isComplaint } from "@culvert/shared/service/commands.ts";
import { isAuthorityFolder, readAuthority, writeAuthority } from "../state/authority-folder.ts";
import { importAuthority } from "../ca/imported-ca.ts";
import { createAuthority } from "../ca/certificate-authority.ts";
import { CA_OPTIONS, readCaFiles } from "./ca-files.ts";

/** `authority init DIR --trust-domain TD [--ca-cert F --ca-key F [--chain F]] [--if-absent]`. */
export const initCommand: Command = {
  name: "init",
  summary:
    "make a root (ten years) and an intermediate (one year), P-256, in a new folder, or take a CA that is there; keys have mode 0600",
  positionals: [{ name: "DIR", help: "folder of the authority; must not exist" }],
  options: [
    {
      name: "trust-domain",
      value: "TD",
      required: true,
      help: "name that all identities begin with, such as example.org",
    },
    ...CA_OPTIONS,
    {
      name: "if-absent",
      help: "when the folder is an authority of that trust domain already, leave it as it is and exit 0",
    },
  ],
  run: async (args, io) => {
    const folder = args.required("DIR");
    const trustDomain = parseTrustDomain(args.required("trust-domain"));
    if (isFailure(trustDomain)) return wrongUsage(`--trust-domain ${trustDomain.detail}`);
    const files = await readCaFiles(args);
    if (isComplaint(files)) return files;
    if (args.flag("if-absent") && (await isAuthorityFolder(folder))) return keep(folder, trustDomain, io);
    const now = systemClock.now();
    const authority =
      files === undefined ? await createAuthority(trustDomain, now) : await importAuthority(trustDomain, files, now);
    if (isFailure(authority)) return { exit: EXIT.failed, message: authority.detail };
    const failure = await writeAuthority(folder, authority);
    if (failure !== undefined) return { exit: EXIT.failed, message: failure.detail };
    io.out(`authority of ${trustDomain} in ${folder}; keep it secret, it can be anybody in the mesh\n`);
    return EXIT.done;
  },
};

async function keep(folder: string, trustDomain: TrustDomain, io: CliIo): Promise<ExitCode | Complaint> {
  const there = await readAuthority(folder);
  if (isFailure(there)) return { exit: EXIT.failed, message: there.detail };
  if (there.trustDomain !== trustDomain) {
    return { exit: EXIT.failed, message: `${folder} is an authority of ${there.trustDomain}, not of ${trustDomain}` };
  }
  io.out(`${folder} is an authority of ${trustDomain} already\n`);
  return EXIT.done;
}
