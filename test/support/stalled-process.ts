// Root. `node stalled-process.ts HOST PORT`: listens, prints `listening`, and stops (SIGSTOP) before it takes any connection. Once its
// short queue is full the kernel drops what else would connect.
import { createServer } from "node:net";
import process from "node:process";

const [host = "", port = ""] = process.argv.slice(2);
createServer().listen({ host, port: Number(port), backlog: 1 }, () => {
  process.stdout.write("listening\n", () => process.kill(process.pid, "SIGSTOP"));
});
