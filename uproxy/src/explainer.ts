// Pure. What `uproxy explain` asks and who answers it.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { wrongUsage } from "@culvert/shared/config/cli.ts";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import type { Explainer } from "@culvert/shared/service/explain-command.ts";
import { explainInbound, explainOutbound, type InboundQuestion } from "./explain.ts";
import { deriveState } from "./state.ts";
import { selfHints } from "./self-hints.ts";

/** Where a connection of the app to `to` would go, or, with `inbound`, whether one would come in. */
export interface ConnectionQuestion extends InboundQuestion {
  readonly inbound: boolean;
}

export const explainer: Explainer<UproxyConfig, ConnectionQuestion> = {
  summary: "says where a connection of the app would go, or whether one from the mesh would come in, and why",
  options: [
    { name: "to", value: "HOST:PORT", required: true, help: "destination; with --inbound IP:PORT of the own app" },
    { name: "inbound", help: "explain an inbound connection: which policy and rule decide" },
    {
      name: "from",
      value: "SPIFFE_ID",
      help: "caller of an inbound connection; without it, one that proves no identity",
    },
    { name: "source-ip", value: "IP", help: "address of that caller" },
  ],
  question: (args) => {
    const [from, sourceIp, inbound] = [args.text("from"), args.text("source-ip"), args.flag("inbound")];
    if (!inbound && (from ?? sourceIp) !== undefined) return wrongUsage("--from and --source-ip go with --inbound");
    return { to: args.required("to"), inbound, from, sourceIp };
  },
  query: ({ to, inbound, from, sourceIp }) => {
    const query = new URLSearchParams({ to });
    if (inbound) query.set("inbound", "");
    if (from !== undefined) query.set("from", from);
    if (sourceIp !== undefined) query.set("source-ip", sourceIp);
    return query;
  },
  answer: (config, snapshot, identity, question) => {
    const state = deriveState(snapshot, identity, selfHints(config));
    const steps = question.inbound
      ? explainInbound(state, question)
      : explainOutbound(state, question.to, config.outbound.unknown);
    return isFailure(steps) ? steps : { steps };
  },
};
