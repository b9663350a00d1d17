// Machine. A PostgreSQL server of one's own from Debian's packages: a fresh cluster in the mesh's folder, on a workload's address,
// run as an unprivileged user because it refuses to run as root.
import { appendFileSync, chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { command, isRoot } from "./env.ts";
import { startProgram, succeed, type Program } from "./process.ts";
import { accepts } from "./tcp.ts";

/** Debian's package makes this account; without root the server runs as the caller. */
const USER = "postgres";

async function asUser(tool: string, args: readonly string[]): Promise<readonly [string, readonly string[]]> {
  const path = command(tool);
  if (!isRoot()) return [path, args];
  return [command("setpriv"), [`--reuid=${USER}`, `--regid=${USER}`, "--clear-groups", path, ...args]];
}

/**
 * Makes a cluster under `folder` and runs it; the superuser is `postgres`, without a password.
 *
 * @param prefix command in front of the server, such as `ip netns exec NAME`
 */
export async function startPostgres(
  folder: string,
  host: string,
  port: number,
  prefix: readonly string[] = [],
): Promise<Program> {
  mkdirSync(folder, { mode: 0o755 });
  if (isRoot()) {
    const [uid, gid] = [Number(await succeed("id", ["-u", USER])), Number(await succeed("id", ["-g", USER]))];
    chownSync(folder, uid, gid);
  }
  const data = join(folder, "data");
  const [init, initArgs] = await asUser("initdb", ["-D", data, "-U", "postgres", "--auth=trust", "--no-sync"]);
  await succeed(init, initArgs);
  // As made, it lets in loopback only, which not every workload's address is.
  appendFileSync(join(data, "pg_hba.conf"), "host all all all trust\n");
  // Its data is thrown away with the mesh, so nothing has to reach the disk.
  const options = ["-D", data, "-h", host, "-p", String(port), "-k", folder, "-c", "fsync=off"];
  const [server, args] = await asUser("postgres", options);
  const [first = server, ...rest] = [...prefix, server, ...args];
  // SIGTERM would wait for the clients.
  const program = startProgram({ name: "postgres", command: first, args: rest, stopSignal: "SIGQUIT" });
  if (prefix.length === 0) await program.watch("the listener", () => accepts(host, port));
  await program.line(/ready to accept connections/);
  return program;
}
