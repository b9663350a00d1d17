// Root. `authority init`: a new authority in a new folder.
import { EXIT, wrongUsage } from "@culvert/shared/config/cli.ts";
import type { Command } from "@culvert/shared/config/cli.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { writeAuthority } from "../state/authority-folder.ts";
import { createAuthority } from "../ca/certificate-authority.ts";

/** `authority init DIR --trust-domain TD`. */
export const initCommand: Command = {
  name: "init",
  summary: "make a root (ten years) and an intermediate (one year), P-256, in a new folder; keys have mode 0600",
  positionals: [{ name: "DIR", help: "folder of the authority; must not exist" }],
  options: [
    {
      name: "trust-domain",
      value: "TD",
      required: true,
      help: "name that all identities begin with, such as example.org",
    },
  ],
  run: async (args, io) => {
    const folder = args.required("DIR");
    const trustDomain = parseTrustDomain(args.required("trust-domain"));
    if (isFailure(trustDomain)) return wrongUsage(`--trust-domain ${trustDomain.detail}`);
    const authority = await createAuthority(trustDomain, systemClock.now());
    const failure = await writeAuthority(folder, authority);
    if (failure !== undefined) return { exit: EXIT.failed, message: failure.detail };
    io.out(`authority of ${trustDomain} in ${folder}; keep it secret, it can be anybody in the mesh\n`);
    return EXIT.done;
  },
};
