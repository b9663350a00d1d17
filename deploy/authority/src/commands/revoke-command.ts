// Machine. `authority revoke`: certificates that count no more, though they have not expired. A running server tells all who watch.
import { EXIT, wrongUsage } from "@culvert/shared/config/cli.ts";
import type { Command } from "@culvert/shared/config/cli.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseSpiffeId, pathOf, trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { REVOCATION_REASONS } from "../ca/crl.ts";
import type { RevocationReason } from "../ca/crl.ts";
import { readRoots } from "../state/authority-folder.ts";
import { normalSerial } from "../state/revocation-store.ts";
import { revoke } from "../state/revoke.ts";

const REASONS = Object.keys(REVOCATION_REASONS) as RevocationReason[];

/** `authority revoke DIR --serial S|--id SPIFFE_ID [--reason R]`. */
export const revokeCommand: Command = {
  name: "revoke",
  summary: "revokes a certificate, or all of an identity, and signs the list that says so: crl.pem of the folder",
  positionals: [{ name: "DIR", help: "folder of the authority" }],
  options: [
    { name: "serial", value: "S", help: "one certificate, by its serial number in hex, as the audit writes it" },
    { name: "id", value: "SPIFFE_ID", help: "every certificate of an identity that was issued here and is alive" },
    { name: "reason", value: "R", help: `one of ${REASONS.join(", ")}; unspecified when not given` },
  ],
  run: async (args, io) => {
    const folder = args.required("DIR");
    const [serial, id] = [args.text("serial"), args.text("id")];
    if ((serial === undefined) === (id === undefined)) return wrongUsage("expected --serial S or --id SPIFFE_ID");
    const reason = args.text("reason") ?? "unspecified";
    if (!isReason(reason)) {
      return wrongUsage(`--reason: expected one of ${REASONS.join(", ")}, found ${JSON.stringify(reason)}`);
    }
    const roots = await readRoots(folder);
    if (isFailure(roots)) return { exit: EXIT.failed, message: roots.detail };
    if (id !== undefined) {
      const parsed = parseSpiffeId(id);
      if (isFailure(parsed)) return wrongUsage(`--id: ${parsed.detail}`);
      if (trustDomainOf(parsed) !== roots.trustDomain || pathOf(parsed) === "") {
        return wrongUsage(`--id: ${id} is not an identity of ${roots.trustDomain}`);
      }
    }
    if (serial !== undefined && normalSerial(serial) === undefined) {
      return wrongUsage(`--serial: expected hex, found ${JSON.stringify(serial)}`);
    }
    const revoked = await revoke(folder, id === undefined ? { serial: serial ?? "" } : { id }, {
      reason,
      now: systemClock.now(),
    });
    if (isFailure(revoked)) return { exit: EXIT.failed, message: revoked.detail };
    for (const each of revoked) io.out(`${each}\n`);
    if (revoked.length === 0) io.err("revoked already\n");
    else if (id !== undefined) {
      io.err("whoever holds a join token of this identity can have a new certificate: see authority token list\n");
    }
    return EXIT.done;
  },
};

function isReason(text: string): text is RevocationReason {
  return REASONS.some((reason) => reason === text);
}
