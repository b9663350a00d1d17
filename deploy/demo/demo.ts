// Root. The demo: mints identities, starts a small bookshop with its mesh as real programs on loopback addresses, and
// shows what the mesh does. `--once` ends after the tour. Needs no root, and leaves nothing behind.
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { INTRUDER, NAMESPACE, PLAYERS, PORTS, TRUST_DOMAIN, uproxyConfig, WAYPOINT, waypointConfig } from "./cast.ts";
import { Programs, run } from "./programs.ts";
import { note } from "./terminal.ts";
import { playground, tour } from "./tour.ts";

const here = import.meta.dirname;
const root = join(here, "../..");
const script = {
  uproxy: join(root, "uproxy/src/main.ts"),
  waypoint: join(root, "waypoint/src/main.ts"),
  authority: join(root, "deploy/authority/src/main.ts"),
  bookshop: join(here, "bookshop.ts"),
};

const once = process.argv.includes("--once");
const folder = await mkdtemp(join(tmpdir(), "culvert-demo-"));
const mesh = join(folder, "mesh");
const logs = join(folder, "logs");
await mkdir(logs);
const programs = new Programs(logs);

let ending: Promise<void> | undefined;
/** Ends all programs and removes the folder; the second call waits for the first. */
function cleanUp(): Promise<void> {
  ending ??= programs.stopAll().then(() => rm(folder, { recursive: true, force: true }));
  return ending;
}
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => void cleanUp().then(() => process.exit(signal === "SIGINT" ? 130 : 143)));
}

try {
  const start = performance.now();
  await cp(join(here, "mesh"), mesh, { recursive: true });
  await mintIdentities();
  await startAll();
  note(
    `four apps, ${PLAYERS.length + 1} uproxies and a waypoint are ready after ${((performance.now() - start) / 1000).toFixed(1)} s`,
  );
  await tour({ programs, mesh });
  if (once) {
    note("\n   the tour is complete");
    await cleanUp();
  } else {
    programs.start("waypoint", script.waypoint, ["run", "--config", join(folder, "waypoint.yaml")]);
    await programs.ready("waypoint", readyUrl(WAYPOINT.address));
    process.stdout.write(`\n${playground(folder)}\n`);
    // Timers of this process keep nothing alive: the running children do.
    await new Promise(() => setInterval(() => undefined, 1 << 30));
  }
} catch (error) {
  if (ending === undefined) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
  await cleanUp();
}

/** Two authorities of one trust domain: the bookshop's, and the intruder's own. */
async function mintIdentities(): Promise<void> {
  const [ours, forged] = [join(folder, "authority"), join(folder, "intruder-authority")];
  await Promise.all(
    [ours, forged].map((directory) => run(script.authority, ["init", directory, "--trust-domain", TRUST_DOMAIN])),
  );
  const accounts = new Set([...PLAYERS, WAYPOINT].map((player) => player.account));
  await Promise.all([...accounts].map((account) => issue(ours, account, identityOf(account))));
  await issue(forged, INTRUDER.account, identityOf("intruder"));
  // The intruder knows the real root, which is public: it trusts the others, and they must not trust it.
  await cp(join(identityOf("storefront"), "bundle.pem"), join(identityOf("intruder"), "bundle.pem"));
}

async function issue(authority: string, account: string, out: string): Promise<void> {
  const who = ["--namespace", NAMESPACE, "--service-account", account];
  await run(script.authority, ["issue", authority, ...who, "--out", out]);
}

function identityOf(account: string): string {
  return join(folder, "identities", account);
}

async function startAll(): Promise<void> {
  for (const player of PLAYERS) {
    if (player.role !== undefined) programs.start(`app-${player.name}`, script.bookshop, [player.role, player.address]);
    await startUproxy(`uproxy-${player.name}`, uproxyConfig(player, identityOf(player.account), mesh));
  }
  await startUproxy("uproxy-intruder", uproxyConfig(INTRUDER, identityOf("intruder"), mesh));
  await writeFile(join(folder, "waypoint.yaml"), waypointConfig(identityOf(WAYPOINT.account), mesh));
  programs.start("waypoint", script.waypoint, ["run", "--config", join(folder, "waypoint.yaml")]);

  await Promise.all([
    ...PLAYERS.map((player) => programs.ready(`uproxy-${player.name}`, readyUrl(player.address))),
    programs.ready("uproxy-intruder", readyUrl(INTRUDER.address)),
    programs.ready("waypoint", readyUrl(WAYPOINT.address)),
  ]);
  // After the proxies: the storefront's page calls the others through them, and each call too early is an error logged.
  await Promise.all(
    PLAYERS.map((player) =>
      programs.ready(`app-${player.name}`, `http://${player.address}:8080/${probePath(player.role)}`),
    ),
  );
}

function probePath(role: string | undefined): string {
  if (role === "catalog") return "books";
  return role === "storefront" ? "" : "reviews/1";
}

async function startUproxy(name: string, config: string): Promise<void> {
  const file = join(folder, `${name}.yaml`);
  await writeFile(file, config);
  programs.start(name, script.uproxy, ["run", "--config", file]);
}

function readyUrl(address: string): string {
  return `http://${address}:${PORTS.readiness}/healthz/ready`;
}
