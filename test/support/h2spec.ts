// Machine. Runs the conformance suite h2spec, and knows where the runtime's HTTP/2 library chooses what RFC 9113 lets it choose.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./env.ts";
import { run } from "./process.ts";

/** Whole seconds that h2spec waits for each reaction. */
const REACTION_S = 3;
const MOST_MS = 170_000;

const FORGOTTEN =
  "the HTTP/2 library forgets closed streams and ignores what still comes on them; nothing reaches an app";
const NO_PRIORITY = "PRIORITY is deprecated (RFC 9113 section 5.3.2) and ignored as a whole";

/** The cases that fail by the library's choice, each with the reason. */
export const LIBRARY: Readonly<Record<string, string>> = {
  "http2/5.1: closed: Sends a DATA frame after sending RST_STREAM frame": FORGOTTEN,
  "http2/5.1: closed: Sends a HEADERS frame after sending RST_STREAM frame": FORGOTTEN,
  "http2/5.1: closed: Sends a DATA frame": FORGOTTEN,
  "http2/5.1: closed: Sends a HEADERS frame": FORGOTTEN,
  // Where the answer was quicker than this frame; else the stream is still known, and reset.
  'http2/6.1: Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state': FORGOTTEN,
  "http2/5.1.1: Sends stream identifier that is numerically smaller than previous": FORGOTTEN,
  "http2/5.3.1: Sends PRIORITY frame that depend on itself": NO_PRIORITY,
  "http2/6.3: Sends a PRIORITY frame with 0x0 stream identifier": NO_PRIORITY,
  "http2/6.7: Sends a PING frame with ACK": "an answer to what nobody asked ends the session",
  "http2/6.9.1: Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream":
    "ends the session in place of the stream, which RFC 9113 section 6.9.1 leaves open",
};

/** The names of the cases that fail against a server of HTTP/2 without TLS. `folder` is for the report. */
export async function runH2spec(
  host: string,
  port: number,
  folder: string,
): Promise<{ readonly failed: readonly string[]; readonly stdout: string }> {
  const report = join(folder, "h2spec.xml");
  const where = ["--host", host, "--port", String(port)];
  const how = ["--strict", "--timeout", String(REACTION_S), "--junit-report", report];
  const { stdout } = await run(command("h2spec"), [...where, ...how], { deadlineMs: MOST_MS });
  const cases = readFileSync(report, "utf8").matchAll(
    /<testcase package="([^"]*)" classname="([^"]*)"[^>]*>\s*(?:<(failure|error|skipped))?/g,
  );
  const failed: string[] = [];
  let count = 0;
  for (const [, name, what, outcome] of cases) {
    count += 1;
    if (outcome === "failure" || outcome === "error") failed.push(`${name}: ${what?.replaceAll("&#34;", '"')}`);
  }
  assert.ok(count > 140, `h2spec ran ${count} cases:\n${stdout.slice(-4_000)}`);
  return { failed, stdout };
}
