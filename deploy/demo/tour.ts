// Root. The tour: what the mesh does, shown by real requests and their real answers. Each step checks what it claims.
import { readFile, rename, stat, writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { CATALOG, INTRUDER, PORTS, REVIEWS_V1, STOREFRONT, WAYPOINT } from "./cast.ts";
import { connectThrough, http, TextConnection, type Answer } from "./client.ts";
import type { Programs } from "./programs.ts";
import { answered, command, note, step } from "./terminal.ts";

/** What the tour may touch. */
export interface TourStage {
  readonly programs: Programs;
  /** The folder of resources that the programs watch. */
  readonly mesh: string;
}

const BOOK = "9780262510875";
const REQUESTS = 200;

/** Walks through everything; fails at the first step that does not show what it should. */
export async function tour(stage: TourStage): Promise<void> {
  await tcpThroughTwoUproxies();
  await httpThroughTwoUproxies();
  await splitByTheWaypoint();
  await deniedAtL4(stage);
  await deniedAtL7(stage);
  await forgedIdentity(stage);
  await policyOnALiveTunnel(stage);
  await waypointGone(stage);
}

async function tcpThroughTwoUproxies(): Promise<void> {
  step("TCP, app → uproxy ═ mTLS ═ uproxy → app. The server speaks first; nobody looks at a byte.");
  command(`nc ${STOREFRONT.address} 9083   # → catalog:7000`);
  const stock = await TextConnection.open(STOREFRONT.address, 9083);
  answered(await stock.read());
  stock.send(`STOCK ${BOOK}\n`);
  const answer = await stock.read();
  answered(answer);
  stock.close();
  expect(answer.startsWith("+ "), "an answer of the stock server");
}

async function httpThroughTwoUproxies(): Promise<void> {
  step("HTTP the same way: for a uproxy it is bytes.");
  const answer = await curl("GET", `http://${STOREFRONT.address}:9081/books`);
  expect(answer.kind === "answer" && answer.status === 200, "200 from catalog");
}

async function splitByTheWaypoint(): Promise<void> {
  step("HTTP through the waypoint: an HTTPRoute splits 90/10, and the app learns who called.");
  await curl("GET", `http://${STOREFRONT.address}:9082/reviews/${BOOK}`);
  command(
    `for i in $(seq ${REQUESTS}); do curl -s http://${STOREFRONT.address}:9082/reviews/${BOOK}; done | count versions`,
  );
  const answers = await Promise.all(
    Array.from({ length: REQUESTS }, () => http("GET", `http://${STOREFRONT.address}:9082/reviews/${BOOK}`)),
  );
  const versions = answers.map((answer) =>
    answer.kind === "answer" ? /"version":"(v\d)"/.exec(answer.body)?.[1] : undefined,
  );
  const v1 = versions.filter((version) => version === "v1").length;
  const v2 = versions.filter((version) => version === "v2").length;
  answered(`v1 ${v1}, v2 ${v2}, failed ${REQUESTS - v1 - v2}`);
  // At 10 % of 200, fewer than 3 or more than 50 would be a broken split, not chance (p < 1e-5).
  expect(v1 + v2 === REQUESTS && v2 >= 3 && v2 <= 50, "a split of about 90 to 10");
}

async function deniedAtL4(stage: TourStage): Promise<void> {
  step("Denied at L4: reviews is not allowed to call catalog. Its own uproxy says so, and catalog's uproxy says why.");
  const log = await logFromHere(stage, `uproxy-${CATALOG.name}`);
  const head = await curlThrough(REVIEWS_V1.address, "catalog:8080");
  expect(head.startsWith("HTTP/1.1 403"), "403 from the own uproxy");
  await log((line) => line["code"] === "DENIED_BY_POLICY");
}

async function deniedAtL7(stage: TourStage): Promise<void> {
  step("Denied at L7: the storefront may read reviews, not delete them. The waypoint answers with code and rule.");
  const log = await logFromHere(stage, "waypoint");
  const answer = await curl("DELETE", `http://${STOREFRONT.address}:9082/reviews/${BOOK}`);
  expect(
    answer.kind === "answer" && answer.status === 403 && answer.code === "DENIED_BY_POLICY",
    "403 DENIED_BY_POLICY",
  );
  await log((line) => line["code"] === "DENIED_BY_POLICY");
}

async function forgedIdentity(stage: TourStage): Promise<void> {
  step("A forged identity: the right name, signed by another authority of the same trust domain.");
  const log = await logFromHere(stage, `uproxy-${CATALOG.name}`);
  const head = await curlThrough(INTRUDER.address, "catalog.bookshop:8080");
  expect(!head.startsWith("HTTP/1.1 200"), "no tunnel");
  await log((line) => line["code"] === "IDENTITY_UNTRUSTED");
}

async function policyOnALiveTunnel(stage: TourStage): Promise<void> {
  step("A policy edited on disk takes effect on a live tunnel.");
  command(`nc ${STOREFRONT.address} 9083`);
  const stock = await TextConnection.open(STOREFRONT.address, 9083);
  answered(await stock.read());
  const log = await logFromHere(stage, `uproxy-${CATALOG.name}`);
  const file = `${stage.mesh}/policies.yaml`;
  const before = await readFile(file, "utf8");
  command("sed -i s,sa/storefront,sa/nobody, mesh/policies.yaml   # catalog-for-storefront");
  await replace(file, before.replace("sa/storefront", "sa/nobody"));
  const ended = await stock.ended(5_000);
  answered(ended === undefined ? "still open" : `connection ended after ${Math.round(ended.afterMs)} ms: ${ended.how}`);
  // The storefront's kept-alive connection to catalog:8080 ends by the same change.
  await log((line) => line["code"] === "POLICY_CHANGED" && String(line["dst.addr"]).endsWith(":7000"));
  await replace(file, before);
  expect(ended !== undefined && ended.afterMs < 1_500, "an end of the connection within a second or so");
  await until("catalog to be open again", async () => {
    const again = await http("GET", `http://${STOREFRONT.address}:9081/books`);
    return again.kind === "answer" && again.status === 200;
  });
  note("edited back: catalog answers again");
}

async function waypointGone(stage: TourStage): Promise<void> {
  step("The waypoint is stopped: reviews is not reachable, and nothing is sent around it.");
  command("kill <waypoint>");
  await stage.programs.stop("waypoint");
  const log = await logFromHere(stage, `uproxy-${STOREFRONT.name}`);
  const answer = await curl("GET", `http://${STOREFRONT.address}:9082/reviews/${BOOK}`);
  expect(answer.kind === "broken", "a reset connection");
  await log((line) => isAbout(line, "reviews") && line["error"] !== undefined);
  note("catalog, which needs no waypoint, is untouched:");
  const catalog = await curl("GET", `http://${STOREFRONT.address}:9081/books`);
  expect(catalog.kind === "answer" && catalog.status === 200, "200 from catalog");
}

function isAbout(line: LogLine, service: string): boolean {
  return String(line["dst.service"]).startsWith(`${service}.`);
}

async function curl(method: string, url: string): Promise<Answer> {
  command(`curl -i${method === "GET" ? "" : ` -X ${method}`} ${url}`);
  const answer = await http(method, url);
  answered(
    answer.kind === "broken"
      ? `(connection ended: ${answer.how})`
      : `${answer.status}${answer.code === undefined ? "" : ` culvert-code: ${answer.code}`}  ${answer.body}`,
  );
  return answer;
}

/** Asks the proxy port of a uproxy for a tunnel; shows what `curl -p` would show, and returns the head of the answer. */
async function curlThrough(proxy: string, target: string): Promise<string> {
  command(`curl -p -x http://${proxy}:${PORTS.proxy} http://${target}/books`);
  const head = await connectThrough({ host: proxy, port: PORTS.proxy }, target);
  const telling = head.split("\r\n").filter((line) => /^HTTP|^culvert-code|^[A-Z_]+:/.test(line));
  answered(telling.join("\n"));
  return head;
}

type LogLine = Readonly<Record<string, unknown>>;

/**
 * Marks where a program's log ends now. What it returns shows the newest matching line after the mark, once there is
 * one: an older line that matches too would tell of something else.
 */
async function logFromHere(
  stage: TourStage,
  program: string,
): Promise<(matches: (line: LogLine) => boolean) => Promise<void>> {
  const file = stage.programs.logOf(program);
  const mark = (await stat(file)).size;
  return async (matches) => {
    let found: string | undefined;
    await until(`a line in the log of ${program}`, async () => {
      const lines = (await readFile(file)).subarray(mark).toString().split("\n");
      found = lines.findLast((line) => line.startsWith("{") && matches(JSON.parse(line) as LogLine));
      return found !== undefined;
    });
    note(`${program} logs: ${found}`);
  };
}

/** Replaces a file in one step, as editors and `kubectl` do. */
async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited 10 s for ${what}`);
    await delay(50);
  }
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(`the tour expected ${what}`);
  note("✓");
}

/** What to play with once the tour is over. */
export function playground(folder: string): string {
  const { address } = STOREFRONT;
  return [
    "The bookshop stays up. Play with it:",
    `  curl http://${address}:8080/                                   # the storefront, which calls both others`,
    `  curl http://${address}:9082/reviews/${BOOK}            # reviews, through the waypoint`,
    `  curl -p -x http://${address}:${PORTS.proxy} http://catalog:8080/books      # any service, by HTTP CONNECT`,
    `  curl --socks5-hostname ${address}:${PORTS.proxy} http://catalog:8080/books # … or by SOCKS5`,
    `  curl http://${address}:${PORTS.metrics}/metrics                     # metrics of the storefront's uproxy`,
    `  curl http://${address}:${PORTS.admin}/config_dump                 # the resources as it understands them`,
    `  curl http://${WAYPOINT.address}:${PORTS.metrics}/metrics                     # metrics of the waypoint`,
    `  ls ${folder}/mesh                                              # resources: edit them and watch`,
    `  tail -f ${folder}/logs/*.log                                   # one line per connection and request`,
    "Ctrl-C ends it.",
  ].join("\n");
}
