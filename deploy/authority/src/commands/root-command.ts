// Machine. `authority root`: the rotation of roots. A running server sees each step within a second and tells all who watch it.
import { X509Certificate } from "node:crypto";
import { EXIT, wrongUsage } from "@culvert/shared/config/cli.ts";
import type { Arguments, CliIo, Command, Complaint, ExitCode } from "@culvert/shared/config/cli.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { isComplaint } from "@culvert/shared/service/commands.ts";
import { createAuthority } from "../ca/certificate-authority.ts";
import { importAuthority } from "../ca/imported-ca.ts";
import { readRoots } from "../state/authority-folder.ts";
import type { Root } from "../state/authority-folder.ts";
import { readIssued } from "../state/issued-log.ts";
import { activateRoot, addRoot, removeRoot } from "../state/rotation.ts";
import { CA_OPTIONS, readCaFiles } from "./ca-files.ts";

/** `authority root list|add|activate|remove DIR …`. */
export const rootCommand: Command = {
  name: "root",
  summary: "replaces the root without a failed connection: add, wait, activate, wait, remove",
  positionals: [
    {
      name: "action",
      choices: ["list", "add", "activate", "remove"],
      help: "add trusts one more root, activate signs by it, remove trusts one no more",
    },
    { name: "DIR", help: "folder of the authority" },
  ],
  options: [
    { name: "id", value: "ID", help: "activate, remove: the root, by the id that list shows, or how that begins" },
    { name: "force", help: "activate, remove: even if certificates that are in use would be refused" },
    ...CA_OPTIONS,
  ],
  run: async (args, io) => {
    const folder = args.required("DIR");
    const there = await readRoots(folder);
    if (isFailure(there)) return failed(there);
    switch (args.required("action")) {
      case "list":
        return list(folder, io);
      case "add":
        return add(folder, args, io);
      case "activate":
        return step(args, io, activateRoot, "signs from now on");
      default:
        return step(args, io, removeRoot, "is trusted no more; its keys are gone");
    }
  },
};

async function list(folder: string, io: CliIo): Promise<ExitCode | Complaint> {
  const roots = await readRoots(folder);
  if (isFailure(roots)) return failed(roots);
  const issued = await readIssued(folder, systemClock.now());
  if (isFailure(issued)) return failed(issued);
  for (const root of roots.all) {
    const { certificatePem } = root.authority.root;
    const end = new X509Certificate(certificatePem).validToDate.toISOString();
    const alive = issued.filter(({ rootId }) => rootId === root.id).length;
    const state = root === roots.signing ? "signs  " : "trusted";
    io.out(`${root.id}  ${state}  until ${end}  ${alive} certificates alive  ${subjectOf(certificatePem)}\n`);
  }
  return EXIT.done;
}

async function add(folder: string, args: Arguments, io: CliIo): Promise<ExitCode | Complaint> {
  const files = await readCaFiles(args);
  if (isComplaint(files)) return files;
  const now = systemClock.now();
  const added = await addRoot(
    folder,
    async (trustDomain) =>
      files === undefined ? createAuthority(trustDomain, now) : importAuthority(trustDomain, files, now),
    now,
  );
  if (isFailure(added)) return failed(added);
  const what = added.isNew ? "is trusted; activate it when all know it" : "is there; its certificate is renewed";
  io.out(`root ${added.root.id} ${what}\n`);
  return EXIT.done;
}

async function step(
  args: Arguments,
  io: CliIo,
  act: typeof activateRoot,
  outcome: string,
): Promise<ExitCode | Complaint> {
  const id = args.text("id");
  if (id === undefined) return wrongUsage(`${args.required("action")} needs --id ID`);
  const done = await act(args.required("DIR"), id, { now: systemClock.now(), force: args.flag("force") });
  if (isFailure(done)) return failed(done);
  const root: Root = done;
  io.out(`root ${root.id} ${outcome}\n`);
  return EXIT.done;
}

function subjectOf(pem: string): string {
  return (new X509Certificate(pem).subject ?? "").split("\n").join(", ");
}

function failed(failure: Failure): Complaint {
  return { exit: EXIT.failed, message: failure.detail };
}
