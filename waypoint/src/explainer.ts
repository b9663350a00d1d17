// Pure. What `waypoint explain` asks and who answers it.
import type { WaypointConfig } from "@culvert/shared/config/process/process-config.ts";
import type { Explainer } from "@culvert/shared/service/explain-command.ts";
import { explainRequest } from "./explain.ts";
import type { RequestQuestion } from "./explain/question.ts";
import { MeshView } from "./mesh/view.ts";
import { selfOf } from "./waypoint.ts";

export const explainer: Explainer<WaypointConfig, RequestQuestion> = {
  summary: "says which route, rule, backend and policy would act on a request, and why",
  options: [
    { name: "request", value: "REQUEST", required: true, help: "such as 'GET http://reviews:9080/x?y=z'" },
    { name: "from", value: "SPIFFE_ID", help: "caller; without it, one of whom nothing is known" },
    { name: "source-ip", value: "IP", help: "address of that caller" },
    { name: "header", value: "'NAME: VALUE'", short: "H", multiple: true, help: "a header of the request" },
  ],
  question: (args) => ({
    request: args.required("request"),
    from: args.text("from"),
    sourceIp: args.text("source-ip"),
    headers: args.texts("header"),
  }),
  query: ({ request, from, sourceIp, headers }) => {
    const query = new URLSearchParams({ request });
    if (from !== undefined) query.set("from", from);
    if (sourceIp !== undefined) query.set("source-ip", sourceIp);
    for (const header of headers) query.append("header", header);
    return query;
  },
  answer: (config, snapshot, identity, question) =>
    explainRequest(new MeshView(snapshot, selfOf(config, identity)), question),
};
