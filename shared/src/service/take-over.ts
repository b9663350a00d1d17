// Machine. Asks the process that we were started beside to drain and end: on its admin port, where it answers until ours is bound.
import { EXIT } from "../config/cli.ts";
import type { CommonConfig } from "../config/process/process-config.ts";
import { isFailure } from "../failure/failure.ts";
import { StartFailure } from "./start-failure.ts";

/** How long it may take to answer that it will end, in milliseconds. */
const ANSWER_MS = 10_000;

/** `asked`, or `nobody` when none listens there; a failure when it is there and does not agree: nobody would know who serves. */
export async function askToEnd(admin: CommonConfig["admin"]): Promise<"asked" | "nobody" | StartFailure> {
  if (admin === undefined) {
    return new StartFailure(EXIT.usage, [
      "admin: expected an address for --takeover, found off: who runs is asked there",
    ]);
  }
  const { httpPost } = await import("../observe/http-get.ts");
  const answer = await httpPost(admin.kind === "unix" ? { path: admin.path } : admin, "/quitquitquit", ANSWER_MS);
  if (!isFailure(answer) && answer.status === 200) return "asked";
  if (isFailure(answer) && /ECONNREFUSED|ENOENT/.test(answer.detail)) return "nobody";
  const found = isFailure(answer) ? answer.toString() : `status ${answer.status}`;
  return new StartFailure(EXIT.failed, [`admin: expected the running process to agree to end, found: ${found}`]);
}
