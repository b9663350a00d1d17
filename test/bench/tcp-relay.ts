// Root. `node tcp-relay.ts LISTEN_HOST:PORT=TO_HOST:PORT …`: the floor of the runtime, a plain TCP relay without TLS,
// tunnel, identity or policy, written as one would write it in ten minutes (node:stream does the moving).
import { connect, createServer } from "node:net";
import process from "node:process";
import { pipeline } from "node:stream";

function address(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}

for (const mapping of process.argv.slice(2)) {
  const [listen = "", to = ""] = mapping.split("=");
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const upstream = connect({ ...address(to), noDelay: true, allowHalfOpen: true });
    // Each direction ends by itself; an error in one has destroyed both of its ends, and with them the other direction.
    pipeline(socket, upstream, () => {});
    pipeline(upstream, socket, () => {});
  });
  server.listen(address(listen));
}
