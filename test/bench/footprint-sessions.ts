// Machine. Sessions that are held open and do nothing, from many callers and to many peers, with memory before and after.
import { join } from "node:path";
import type { ClientHttp2Session } from "node:http2";
import { openSession, startPeer, tlsOf, type FakePeer } from "../support/h2.ts";
import { ask } from "../support/http.ts";
import { identityOf } from "../support/identities.ts";
import type { Memory } from "../support/proc.ts";
import { dial, type Connection } from "../support/tcp.ts";
import { until } from "../support/until.ts";
import { AT, CALLERS, introducePeers, PEER, type Lab } from "./footprint-lab.ts";

const AT_ONCE = 10;
const STATUS = "HTTP/1.1 200";

/** Memory with one such session, and with `count` more. */
interface Held {
  readonly before: Memory;
  readonly after: Memory;
  readonly count: number;
}

/** Opens `count` of them, ten at once. */
async function many<T>(count: number, open: (index: number) => Promise<T>): Promise<T[]> {
  const opened: T[] = [];
  for (let begun = 0; begun < count; begun += AT_ONCE) {
    const length = Math.min(AT_ONCE, count - begun);
    opened.push(...(await Promise.all(Array.from({ length }, (_, index) => open(begun + index)))));
  }
  return opened;
}

/** `count` sessions to the app's end, from twenty identities in turn, without a tunnel. */
export async function holdSessionsFrom(lab: Lab, count: number, look: () => Promise<Memory>): Promise<Held> {
  const identities = CALLERS.map((account) => tlsOf(identityOf(join(lab.folder, "identities"), account)));
  const open = (index: number): Promise<ClientHttp2Session> =>
    openSession(lab.app, AT.hbone, identities[index % identities.length] ?? {});
  const sessions = [await open(0)];
  try {
    const before = await look();
    sessions.push(...(await many(count, open)));
    return { before, after: await look(), count };
  } finally {
    for (const session of sessions) session.destroy();
  }
}

/** A session from the client's end to each peer but the first, with one tunnel in each. */
export async function holdSessionsTo(lab: Lab, look: () => Promise<Memory>): Promise<Held> {
  const identity = tlsOf(identityOf(join(lab.folder, "identities"), PEER));
  const peers: FakePeer[] = [];
  const tunnels: Connection[] = [];
  const open = async (address: string): Promise<Connection> => {
    const connection = await dial(lab.client, AT.proxy);
    connection.send(`CONNECT ${address}:${AT.http} HTTP/1.1\r\nHost: ${address}\r\n\r\n`);
    const status = (await connection.bytes(STATUS.length)).toString("latin1");
    if (!status.startsWith(STATUS)) throw new Error(`CONNECT to ${address} was answered with ${status}`);
    return connection;
  };
  try {
    for (const address of lab.peers) {
      peers.push(await startPeer(address, AT.hbone, identity, (stream) => stream.respond({ ":status": 200 })));
    }
    introducePeers(lab);
    await until("the peers in the client's resources", async () => {
      const { body } = await ask(`http://${lab.client}:${AT.admin}/config_dump`);
      return body.includes(lab.peers.at(-1) ?? "");
    });
    const [first = "", ...others] = lab.peers;
    tunnels.push(await open(first));
    const before = await look();
    tunnels.push(...(await many(others.length, (index) => open(others[index] ?? first))));
    return { before, after: await look(), count: others.length };
  } finally {
    for (const tunnel of tunnels) tunnel.close();
    for (const peer of peers) await peer.stop();
  }
}
