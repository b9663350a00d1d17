// The bookshop of deploy/compose for real: images that are built here, an engine in a network of its own, and what a newcomer does.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { command, findCommand, REPOSITORY } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { startProgram, succeed, type Program } from "../support/process.ts";
import { writeWhole } from "../support/programs.ts";
import { until } from "../support/until.ts";

/** What a build or a start may take; the runner ends a file that is silent for longer. */
const LONG_MS = 140_000;
/** Of the load while something is restarted: a page each. */
const PAGE_EVERY_MS = 200;
const BOTH = ["--file", "two-waypoints.yaml"];
const WAYPOINTS = ["waypoint", "waypoint-2"];
/** A page that has what the catalog and reviews said. */
const WHOLE = /Programming Language.*"version"/;
/** `docker compose` of today. Debian has 1.29 alone, and building this takes minutes, so `.ci/run` does it where that is asked for. */
const LATER = findCommand("compose-v2");

const need = needs({ root: true, commands: ["dockerd", "docker", "docker-compose", "nsenter", "ip", "curl"] });
describe("the bookshop in containers", need, () => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-compose-"));
  const namespace = `cv${randomBytes(3).toString("hex")}-dk`;
  const inside = [`--net=/run/netns/${namespace}`];
  const env = { DOCKER_HOST: `unix://${folder}/d.sock`, COMPOSE_PROJECT_NAME: "bookshop" };
  const project = join(folder, "compose");
  let engine: Program | undefined;

  before(async () => {
    cpSync(join(REPOSITORY, "deploy/compose"), project, { recursive: true });
    await succeed(command("ip"), ["netns", "add", namespace]);
    await succeed(command("ip"), ["-n", namespace, "link", "set", "lo", "up"]);
    const places = ["data-root", "exec-root"].flatMap((name) => [`--${name}`, join(folder, name)]);
    engine = startProgram({
      name: "dockerd",
      command: command("nsenter"),
      args: [...inside, command("dockerd"), "-H", env.DOCKER_HOST, ...places, "--pidfile", join(folder, "d.pid")],
    });
    await engine.line(/API listen on/);
    const build = join(REPOSITORY, "deploy/images/images.ts");
    await succeed(process.execPath, [build, "--out", join(folder, "images"), "--load"], { env, deadlineMs: LONG_MS });
  });

  after(async () => {
    await compose("down", "--volumes", "--timeout", "1").catch(() => undefined);
    await engine?.stop();
    await succeed(command("ip"), ["netns", "delete", namespace]);
    rmSync(folder, { recursive: true, force: true });
  });

  function compose(...args: readonly string[]): Promise<string> {
    return composeBy(command("docker-compose"), ...args);
  }

  function composeBy(program: string, ...args: readonly string[]): Promise<string> {
    return succeed(program, ["--file", "compose.yaml", ...args], { cwd: project, env, deadlineMs: LONG_MS });
  }

  /** Waits until both instances of the waypoint are ready, and the storefront's uproxy knows them. */
  async function bothServe(by: string): Promise<void> {
    const wait = ["/usr/bin/node", "/usr/lib/culvert/waypoint.mjs", "wait", "--timeout", "60s"];
    for (const name of WAYPOINTS) await composeBy(by, ...BOTH, "exec", "-T", name, ...wait);
    const explain = "/usr/bin/node /usr/lib/culvert/uproxy.mjs explain --to reviews:8080 --admin 127.0.0.1:15000".split(
      " ",
    );
    await until(
      "both instances",
      async () => {
        const text = await composeBy(by, "exec", "-T", "storefront-uproxy", ...explain).catch(() => "");
        return text.includes("of the 2 endpoints above");
      },
      60_000,
    );
  }

  /** What other pages than whole ones there were while something was done, of how many. */
  async function pagesDuring(work: () => Promise<unknown>): Promise<{ asked: number; others: string[] }> {
    const pages: Promise<string>[] = [];
    const ask = (): void => void pages.push(page().catch(String));
    ask();
    const timer = setInterval(ask, PAGE_EVERY_MS);
    await work().finally(() => clearInterval(timer));
    const texts = await Promise.all(pages);
    return { asked: texts.length, others: texts.filter((text) => !WHOLE.test(text)) };
  }

  function page(): Promise<string> {
    const curl = [...inside, command("curl"), "--silent", "--max-time", "30", "http://127.0.0.1:8080/"];
    return succeed(command("nsenter"), curl);
  }

  async function isWhole(): Promise<boolean> {
    return WHOLE.test(await page().catch(() => ""));
  }

  test("everything starts in its order, and the page has what the others said", async () => {
    await compose("up", "--detach");
    // Nobody waits for the other apps.
    await until("the whole page", isWhole, 60_000);
    assert.match(await page(), /"version":"v[12]".*URI=spiffe:\/\/cluster.local\/ns\/bookshop\/sa\/storefront/);
  });

  test("a policy that is edited takes effect, and back", async () => {
    const file = join(project, "mesh/policies.yaml");
    const text = readFileSync(file, "utf8");
    writeWhole(file, text.replace('paths: ["/reviews/*"]', 'paths: ["/nothing"]'));
    await until("the refusal", async () => !(await page()).includes('"version"'));
    writeWhole(file, text);
    await until("the reviews again", async () => (await page()).includes('"version"'));
  });

  test("a waypoint and a uproxy that are restarted serve again, with the identity that they had", async () => {
    await compose("restart", "waypoint", "catalog-uproxy");
    await until("the whole page", isWhole, 60_000);
  });

  test("one of two waypoints is restarted, then the other, and no request is lost", async () => {
    await compose(...BOTH, "up", "--detach");
    for (const name of WAYPOINTS) {
      await bothServe(command("docker-compose"));
      const { asked, others } = await pagesDuring(() => compose(...BOTH, "restart", name));
      assert.deepEqual(others, [], `${name}: of ${asked} pages`);
      assert.ok(asked > 5, `${asked} pages`);
    }
  });

  test("the overlay captures what the storefront opens", async () => {
    await compose("--file", "transparent.yaml", "up", "--detach", "--remove-orphans");
    await until("the whole page", isWhole, 60_000);
  });

  if (LATER !== undefined) {
    test("the files do the same with the compose of today", async () => {
      const all = [...BOTH, "--file", "transparent.yaml"];
      // All of them: a volume that is kept has a certificate of an authority that is no more.
      await compose(...all, "down", "--volumes", "--timeout", "1");
      await composeBy(LATER, ...all, "up", "--detach");
      await until("the whole page", isWhole, 60_000);
      await bothServe(LATER);
      const { asked, others } = await pagesDuring(() => composeBy(LATER, ...all, "restart", "waypoint"));
      assert.deepEqual(others, [], `of ${asked} pages`);
      await composeBy(LATER, ...all, "down", "--volumes", "--timeout", "1");
    });
  }
});
