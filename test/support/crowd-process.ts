// Root. `node crowd-process.ts KIND HOST PORT COUNT`: connections to an echo app from another host, in one process. It prints `open`
// once all have had an echo, and at the end one line of JSON: how the connections ended, and how many echoes there were. Kinds: `hold`
// is silent until they end; `talk` sends and awaits a word all the while, until SIGTERM; `bulk` sends a mebibyte and reads it back.
import { randomBytes } from "node:crypto";
import process from "node:process";
import { attempt, converse } from "./tcp.ts";

const AT_MOST_MS = 300_000;
const MIB = 1024 * 1024;

const [kind = "", host = "", port = "", count = "1"] = process.argv.slice(2);
const ends: Record<string, number> = {};
let echoes = 0;
const stopping = new AbortController();
process.on("SIGTERM", () => stopping.abort());

const opened = Promise.withResolvers<void>();
let open = 0;
void opened.promise.then(() => process.stdout.write("open\n"));

async function hold(): Promise<string> {
  const connection = attempt(host, Number(port));
  connection.send("?");
  try {
    await connection.bytes(1, AT_MOST_MS);
  } catch {
    return connection.ended();
  }
  open += 1;
  if (open === Number(count)) opened.resolve();
  if (kind === "hold") return connection.ended(AT_MOST_MS);
  for (let heard = 1; !stopping.signal.aborted; heard++) {
    connection.send("!");
    await Promise.race([connection.bytes(heard + 1, AT_MOST_MS), connection.ended(AT_MOST_MS)]);
    if (connection.received.length <= heard) return connection.ended();
    echoes += 1;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  connection.close();
  return "whole";
}

async function bulk(): Promise<string> {
  const data = randomBytes(MIB);
  const connection = await converse(host, Number(port), data);
  return connection.ended === "end" && connection.received.equals(data) ? "whole" : connection.ended;
}

await Promise.all(
  Array.from({ length: Number(count) }, async () => {
    const how = await (kind === "bulk" ? bulk() : hold()).catch((error: unknown) => String(error));
    ends[how] = (ends[how] ?? 0) + 1;
  }),
);
process.stdout.write(`${JSON.stringify({ ends, echoes })}\n`);
process.exit();
