// Machine. The options by which commands take a CA that somebody else has made.
import { EXIT, wrongUsage } from "@culvert/shared/config/cli.ts";
import type { Arguments, Complaint, OptionSpec } from "@culvert/shared/config/cli.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { readKeyFile, readPublicFile } from "@culvert/shared/identity/read-file.ts";
import type { CaFiles } from "../ca/imported-ca.ts";

/** `--ca-cert`, `--ca-key` and `--chain`. */
export const CA_OPTIONS: readonly OptionSpec[] = [
  {
    name: "ca-cert",
    value: "F",
    help: "certificate that is to sign, PEM, as from cert-manager or Vault: an intermediate, or a root below which one is made",
  },
  { name: "ca-key", value: "F", help: "its key, PEM, mode 0600 or 0400" },
  { name: "chain", value: "F", help: "what stands above it, up to the self-signed root, whose key is not needed" },
];

/** Reads the files that the arguments name; undefined when they name none. */
export async function readCaFiles(args: Arguments): Promise<CaFiles | undefined | Complaint> {
  const [certificate, key, chain = ""] = ["ca-cert", "ca-key", "chain"].map((name) => args.text(name));
  if (certificate === undefined && key === undefined && chain === "") return undefined;
  if (certificate === undefined || key === undefined) return wrongUsage("--ca-cert and --ca-key go together");
  const certificatePem = await readPublicFile(certificate);
  if (isFailure(certificatePem)) return { exit: EXIT.failed, message: certificatePem.detail };
  const keyPem = await readKeyFile(key);
  if (isFailure(keyPem)) return { exit: EXIT.failed, message: keyPem.detail };
  const chainPem = chain === "" ? "" : await readPublicFile(chain);
  if (isFailure(chainPem)) return { exit: EXIT.failed, message: chainPem.detail };
  return { certificatePem, keyPem, chainPem, places: { certificate, key, chain } };
}
