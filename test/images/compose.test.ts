// The bookshop of deploy/compose for real: images that are built here, an engine in a network of its own, and what a newcomer does.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { command, REPOSITORY } from "../support/env.ts";
import { needs } from "../support/needs.ts";
import { startProgram, succeed, type Program } from "../support/process.ts";
import { writeWhole } from "../support/programs.ts";
import { until } from "../support/until.ts";

const LONG_MS = 110_000;

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
    return succeed(command("docker-compose"), ["--file", "compose.yaml", ...args], {
      cwd: project,
      env,
      deadlineMs: LONG_MS,
    });
  }

  function page(): Promise<string> {
    const curl = [...inside, command("curl"), "--silent", "--max-time", "10", "http://127.0.0.1:8080/"];
    return succeed(command("nsenter"), curl);
  }

  async function isWhole(): Promise<boolean> {
    return /Programming Language.*"version"/.test(await page());
  }

  test("everything starts in its order, and the page has what the others said", async () => {
    await compose("up", "--detach");
    const text = await until("the storefront", page);
    assert.match(
      text,
      /Programming Language.*"version":"v[12]".*URI=spiffe:\/\/cluster.local\/ns\/bookshop\/sa\/storefront/,
    );
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

  test("the overlay captures what the storefront opens", async () => {
    await compose("--file", "transparent.yaml", "up", "--detach");
    await until("the whole page", isWhole, 60_000);
  });
});
