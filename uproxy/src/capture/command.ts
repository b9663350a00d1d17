// Machine. `uproxy capture`: prints the rules, or hands the very same script to the shell.
import { CONFIG_OPTION } from "@culvert/shared/config/process/program-file.ts";
import {
  EXIT,
  wrongUsage,
  type Arguments,
  type CliIo,
  type Command,
  type Complaint,
} from "@culvert/shared/config/cli.ts";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { isComplaint, loadConfig, type ProgramKind } from "@culvert/shared/service/commands.ts";

/** `capture print|apply|remove`. */
export function captureCommand(kind: ProgramKind<UproxyConfig>): Command {
  return {
    name: "capture",
    summary: "prints, applies or removes the rules that turn connections of this network namespace to uproxy",
    positionals: [
      {
        name: "action",
        choices: ["print", "apply", "remove"],
        help: "print is a script for review; the others run it",
      },
    ],
    options: [
      CONFIG_OPTION,
      {
        name: "backend",
        value: "nft|iptables",
        help: "who tells the kernel: nft (default), or iptables and ip6tables",
      },
    ],
    run: async (args, io) => {
      const backend = args.text("backend") ?? "nft";
      if (backend !== "nft" && backend !== "iptables") {
        return wrongUsage(`--backend: expected nft or iptables, found ${JSON.stringify(backend)}`);
      }
      const action = args.required("action");
      const script = action === "remove" ? await removeScript(backend) : await applyScript(backend, kind, args);
      if (isComplaint(script)) return script;
      if (action === "print") {
        io.out(script);
        return EXIT.done;
      }
      return run(script, io);
    },
  };
}

type Backend = "nft" | "iptables";

async function applyScript(
  backend: Backend,
  kind: ProgramKind<UproxyConfig>,
  args: Arguments,
): Promise<string | Complaint> {
  const config = await loadConfig(kind, args);
  if (isComplaint(config)) return config;
  const { capturePlan } = await import("./plan.ts");
  const plan = capturePlan(config);
  if (isFailure(plan)) return wrongUsage(plan.detail);
  if (backend === "nft") return (await import("./nft-rules.ts")).nftApplyScript(plan);
  return (await import("./iptables-rules.ts")).iptablesApplyScript(plan);
}

/** Needs no configuration: our tables and chains have names of their own. */
async function removeScript(backend: Backend): Promise<string> {
  if (backend === "nft") return (await import("./nft-rules.ts")).nftRemoveScript();
  return (await import("./iptables-rules.ts")).iptablesRemoveScript();
}

async function run(script: string, io: CliIo): Promise<typeof EXIT.done | Complaint> {
  const { runScript } = await import("./run-script.ts");
  const ended = await runScript(script);
  if (ended.problem === undefined) return EXIT.done;
  io.err(ended.output);
  return { exit: EXIT.failed, message: ended.problem };
}
