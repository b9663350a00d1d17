// Machine. Apps of a mesh under test by what they have in common, whichever way they come into it: a request, the line about it, and what their
// proxy asks the authority for. And a resolver that knows no name.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { startTcpApp, type App } from "./apps.ts";
import { sourceOf, type Asking } from "./config-authority.ts";
import { command } from "./env.ts";
import type { Insider } from "./in-process.ts";
import type { LogLine, Proxy } from "./mesh.ts";
import { succeed } from "./process.ts";

/** Port that is asked. */
export const MEMBER_PORT = 8080;

/** A member of the mesh, by one of the ways into it. */
export interface Member {
  readonly facts: () => Promise<Asking>;
  access(fields: LogLine): Promise<LogLine>;
  /** One request, of a name or an address, over a connection of its own; the answer's body. Rejects when it has none. */
  get(to: string): Promise<string>;
}

/** What a uproxy asks the authority for. */
export async function askingOf(proxy: Proxy): Promise<Asking> {
  return (await sourceOf(proxy)).stream;
}

/** An app that is told of its uproxy's proxy port. */
export function throughUproxy(proxy: Proxy, how: (place: string) => readonly string[]): Member {
  const flags = how(hostPort(proxy.inside, proxy.ports.proxy));
  return {
    facts: () => askingOf(proxy),
    access: (fields) => proxy.access(fields),
    get: (to) => succeed(command("curl"), ["--silent", "--show-error", ...flags, `http://${to}:${MEMBER_PORT}/`]),
  };
}

/** An app that is its own proxy. */
export function inProcess(insider: Insider): Member {
  const { mesh } = insider;
  return {
    facts: () => {
      const metrics = mesh.metrics();
      const value = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(metrics)?.[1]);
      const subscriptions = value("culvert_configuration_subscriptions");
      return Promise.resolve({ subscriptions, waiting: value("culvert_configuration_waiting") });
    },
    access: (fields) => insider.access(fields),
    get: (to) =>
      new Promise((resolve, reject) => {
        request({ host: to, port: MEMBER_PORT, agent: mesh.httpAgent({ keepAlive: false }) }, (response) => {
          text(response).then(resolve, reject);
        })
          .on("error", reject)
          .end();
      }),
  };
}

/** A resolver that knows no name. */
export async function startNameless(host: string, onRequest: () => void): Promise<App> {
  const answer = (message: Buffer): Buffer => {
    onRequest();
    const copy = Buffer.from(message);
    copy.writeUInt16BE(0x8183, 2);
    return copy;
  };
  const tcp = await startTcpApp(host, 0, (socket) => {
    // A question comes in one piece here, after its length.
    socket.on("data", (chunk: Buffer) => {
      socket.write(Buffer.concat([chunk.subarray(0, 2), answer(chunk.subarray(2))]));
    });
  });
  const udp = createSocket("udp4", (message, { address, port }) => udp.send(answer(message), port, address));
  udp.bind(tcp.port, host);
  await once(udp, "listening");
  return {
    ...tcp,
    stop: async () => {
      udp.close();
      await tcp.stop();
    },
  };
}
