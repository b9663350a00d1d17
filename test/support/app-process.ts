// Root. `node app-process.ts KIND HOST PORT[,PORT…]`: an application in a process of its own, for hosts that are namespaces. Kinds are
// `http`, `echo` and `smtp`; it prints `ready` once it listens.
import process from "node:process";
import { echo, smtp, startHttpApp, startTcpApp, type App } from "./apps.ts";

const [kind = "", host = "", ports = ""] = process.argv.slice(2);

const KINDS: Readonly<Record<string, (port: number) => Promise<App>>> = {
  http: (port) => startHttpApp(host, port, host),
  echo: (port) => startTcpApp(host, port, echo),
  smtp: (port) => startTcpApp(host, port, smtp),
};

const start = KINDS[kind];
if (start === undefined) throw new Error(`the kinds are ${Object.keys(KINDS).join(", ")}`);
const apps = await Promise.all(ports.split(",").map((port) => start(Number(port))));
process.stdout.write("ready\n");
process.once("SIGTERM", () => void Promise.all(apps.map((app) => app.stop())));
