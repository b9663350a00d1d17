// Root. `node app-process.ts KIND HOST PORT`: an application in a process of its own, for hosts that are namespaces. Kinds are
// `http`, `echo` and `smtp`; it prints `ready` once it listens.
import process from "node:process";
import { echo, smtp, startHttpApp, startTcpApp, type App } from "./apps.ts";

const [kind = "", host = "", port = ""] = process.argv.slice(2);

const KINDS: Readonly<Record<string, () => Promise<App>>> = {
  http: () => startHttpApp(host, Number(port), host),
  echo: () => startTcpApp(host, Number(port), echo),
  smtp: () => startTcpApp(host, Number(port), smtp),
};

const start = KINDS[kind];
if (start === undefined) throw new Error(`the kinds are ${Object.keys(KINDS).join(", ")}`);
const app = await start();
process.stdout.write("ready\n");
process.once("SIGTERM", () => void app.stop());
