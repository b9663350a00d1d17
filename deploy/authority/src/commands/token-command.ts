// Machine. `authority token`: makes, lists and revokes join tokens. A running server sees each change at once.
import { lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { EXIT, wrongUsage } from "@culvert/shared/config/cli.ts";
import type { Arguments, CliIo, Command, Complaint, ExitCode } from "@culvert/shared/config/cli.ts";
import { parseDuration } from "@culvert/shared/config/units.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { workloadId } from "@culvert/shared/identity/spiffe-id.ts";
import { writeFileWhole } from "@culvert/shared/identity/write-file.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { isComplaint } from "@culvert/shared/service/commands.ts";
import { bundlePemOf, readAuthority, readRoots } from "../state/authority-folder.ts";
import { attempt, PRIVATE_FOLDER, PUBLIC, SECRET } from "../state/files.ts";
import { formatJoinToken } from "../proof/join-token.ts";
import { MAX_TOKEN_USES, TokenStore } from "../state/token-store.ts";
import type { ListedToken, StoredToken } from "../state/token-store.ts";

const DEFAULT_TTL = "1h";
const MAX_TTL_MS = 365 * 86_400_000;

/** `authority token create|list|revoke DIR …`. */
export const tokenCommand: Command = {
  name: "token",
  summary: "makes, lists and revokes join tokens, by which workloads get their first certificate",
  positionals: [
    {
      name: "action",
      choices: ["create", "list", "revoke"],
      help: "create prints the token, once: only its hash is kept",
    },
    { name: "DIR", help: "folder of the authority" },
  ],
  options: [
    { name: "namespace", value: "NS", help: "create: namespace of the workload" },
    { name: "service-account", value: "SA", help: "create: service account of the workload" },
    {
      name: "ttl",
      value: DEFAULT_TTL,
      help: `create: until when it may be used, up to 8760h; ${DEFAULT_TTL} when not given`,
    },
    { name: "reusable", help: "create: may be used more than once" },
    {
      name: "uses",
      value: "N",
      help: `create: with --reusable, at most so often, up to ${MAX_TOKEN_USES}; else without limit`,
    },
    {
      name: "out",
      value: "DIR2",
      help: "create: folder for what a workload needs to join, `token` and `root.pem`, in place of printing the token",
    },
    { name: "id", value: "ID", help: "revoke: the token, by the id that list shows" },
  ],
  run: async (args, io) => {
    const folder = args.required("DIR");
    const found = await lstat(folder).then(
      (entry) => entry.isDirectory(),
      () => false,
    );
    if (!found) return { exit: EXIT.failed, message: `${folder}: not a folder` };
    const tokens = new TokenStore(folder);
    switch (args.required("action")) {
      case "create":
        return create(folder, tokens, args, io);
      case "list":
        return list(tokens, io);
      default:
        return revoke(tokens, args, io);
    }
  },
};

async function create(folder: string, tokens: TokenStore, args: Arguments, io: CliIo): Promise<ExitCode | Complaint> {
  const spec = specOf(args);
  if (isComplaint(spec)) return spec;
  const authority = await readAuthority(folder);
  if (isFailure(authority)) return { exit: EXIT.failed, message: authority.detail };
  const id = workloadId(authority.trustDomain, spec.namespace, spec.serviceAccount);
  if (isFailure(id)) return wrongUsage(`--namespace or --service-account: ${id.detail}`);
  const token = await tokens.create(spec);
  if (isFailure(token)) return { exit: EXIT.failed, message: token.detail };
  const out = args.text("out");
  const written = await (out === undefined ? undefined : writeInvitation(out, folder, formatJoinToken(token)));
  if (written !== undefined) return { exit: EXIT.failed, message: written.detail };
  if (out === undefined) io.out(`${formatJoinToken(token)}\n`);
  // Beside it and not before it, so that the output is the token.
  io.err(`token ${token.id} for ${id}, ${usesText(spec)}, until ${new Date(spec.expiresAt).toISOString()}\n`);
  return EXIT.done;
}

/** What a workload that asks for its first identity must have: whom to trust, and what proves who it is. */
async function writeInvitation(out: string, folder: string, token: string): Promise<Failure | undefined> {
  const roots = await readRoots(folder);
  if (isFailure(roots)) return roots;
  return attempt(out, async () => {
    await mkdir(out, { recursive: true, mode: PRIVATE_FOLDER });
    await writeFileWhole(join(out, "root.pem"), bundlePemOf(roots), PUBLIC);
    await writeFileWhole(join(out, "token"), `${token}\n`, SECRET);
    return undefined;
  });
}

function specOf(args: Arguments): Omit<StoredToken, "id"> | Complaint {
  const namespace = args.text("namespace");
  const serviceAccount = args.text("service-account");
  if (namespace === undefined || serviceAccount === undefined) {
    return wrongUsage("create needs --namespace NS and --service-account SA");
  }
  const ttl = args.text("ttl") ?? DEFAULT_TTL;
  const ttlMs = parseDuration(ttl);
  if (ttlMs === undefined || ttlMs < 1_000 || ttlMs > MAX_TTL_MS) {
    return wrongUsage(`--ttl: expected a duration from 1s to 8760h, found ${JSON.stringify(ttl)}`);
  }
  const wanted = args.text("uses");
  if (wanted !== undefined && !args.flag("reusable")) return wrongUsage("--uses goes with --reusable");
  const uses = wanted === undefined ? undefined : Number(/^\d{1,4}$/.exec(wanted)?.[0] ?? Number.NaN);
  if (uses !== undefined && !(uses >= 1 && uses <= MAX_TOKEN_USES)) {
    return wrongUsage(`--uses: expected a number from 1 to ${MAX_TOKEN_USES}, found ${JSON.stringify(wanted)}`);
  }
  const createdAt = systemClock.now();
  return {
    namespace,
    serviceAccount,
    createdAt,
    expiresAt: createdAt + ttlMs,
    uses: args.flag("reusable") ? uses : 1,
  };
}

async function list(tokens: TokenStore, io: CliIo): Promise<ExitCode | Complaint> {
  const all = await tokens.list();
  if (isFailure(all)) return { exit: EXIT.failed, message: all.detail };
  const now = systemClock.now();
  for (const token of all) io.out(`${lineOf(token, now)}\n`);
  return EXIT.done;
}

function lineOf(token: ListedToken, now: number): string {
  const { id, namespace, serviceAccount, uses, used, expiresAt } = token;
  const counted = uses === undefined ? "reusable" : `used ${used} of ${uses}`;
  const end = `${now < expiresAt ? "until" : "expired"} ${new Date(expiresAt).toISOString()}`;
  return `${id}  ${namespace}/${serviceAccount}  ${counted}  ${end}`;
}

async function revoke(tokens: TokenStore, args: Arguments, io: CliIo): Promise<ExitCode | Complaint> {
  const id = args.text("id");
  if (id === undefined) return wrongUsage("revoke needs --id ID");
  const gone = await tokens.revoke(id);
  if (isFailure(gone)) return { exit: EXIT.failed, message: gone.detail };
  if (!gone) return { exit: EXIT.failed, message: `there is no token ${id}` };
  io.out(`token ${id} is revoked; certificates that were issued by it stay valid until they end or are revoked\n`);
  return EXIT.done;
}

function usesText({ uses }: { readonly uses: number | undefined }): string {
  if (uses === undefined) return "as often as wanted";
  return uses === 1 ? "once" : `${uses} times`;
}
