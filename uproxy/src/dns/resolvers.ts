// Machine. The resolvers that other names are passed on to: configured, or those of the host's resolv.conf, which is read again
// when it has changed. This proxy itself is never among them.
import { stat } from "node:fs/promises";
import { readBounded } from "@culvert/shared/config/read-bounded.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { isLoopback, parseIp, UNSPECIFIED_IP } from "@culvert/shared/net/ip.ts";

/** What libc reads. */
const RESOLV_CONF = "/etc/resolv.conf";
const DNS_PORT = 53;
/** As libc: further ones are not asked. */
const MOST_RESOLVERS = 3;
const MOST_BYTES = 64 * 1024;
/** The file is looked at no more often than this, and only when a name is passed on. */
const LOOK_AGAIN_MS = 2_000;

/** What the resolvers are found by. */
export interface ResolversOptions {
  /** `undefined`: those of `file`. */
  readonly configured: readonly Endpoint[] | undefined;
  /** Our own listeners: asking them would be asking ourselves. */
  readonly own: readonly Endpoint[];
  readonly clock: Clock;
  /** The list is another than before; `refused` are ourselves. */
  readonly onChange: (resolvers: readonly Endpoint[], refused: readonly Endpoint[]) => void;
  /** resolv.conf; replaced in tests. */
  readonly file?: string;
}

/** See the head of the file. */
export class Resolvers {
  readonly #options: ResolversOptions;
  #list: readonly Endpoint[] = [];
  #told: string | undefined;
  #signature = "";
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  constructor(options: ResolversOptions) {
    this.#options = options;
    if (options.configured !== undefined) this.#take(options.configured);
  }

  /** The resolvers in the order in which they are asked. Never waits: a change of the file counts from the next call on. */
  current(): readonly Endpoint[] {
    void this.look();
    return this.#list;
  }

  /** Looks at the file if it is time to. Never rejects. */
  look(): Promise<void> {
    const { configured, clock } = this.#options;
    if (configured !== undefined) return Promise.resolve();
    if (this.#looking !== undefined) return this.#looking;
    const now = clock.monotonic();
    if (now - this.#lookedAtMs < LOOK_AGAIN_MS) return Promise.resolve();
    this.#lookedAtMs = now;
    this.#looking = this.#read().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #read(): Promise<void> {
    const file = this.#options.file ?? RESOLV_CONF;
    try {
      const { mtimeMs, size, ino } = await stat(file);
      const signature = `${mtimeMs} ${size} ${ino}`;
      if (signature === this.#signature) return;
      const bytes = await readBounded(file, MOST_BYTES);
      if (typeof bytes === "string") return this.#none();
      this.#signature = signature;
      this.#take(parseResolvConf(Buffer.from(bytes).toString("utf8")));
    } catch {
      this.#none();
    }
  }

  /** While the file is replaced it may be gone: the last list stays. */
  #none(): void {
    if (this.#told === undefined) this.#take([]);
  }

  #take(found: readonly Endpoint[]): void {
    const { own, onChange } = this.#options;
    const isOwn = (one: Endpoint): boolean => own.some((listener) => leadsTo(one, listener));
    this.#list = found.filter((one) => !isOwn(one)).slice(0, MOST_RESOLVERS);
    const text = JSON.stringify(found);
    if (text === this.#told) return;
    this.#told = text;
    onChange(this.#list, found.filter(isOwn));
  }
}

/** The `nameserver` lines of resolv.conf(5). Addresses with a zone are left out. */
export function parseResolvConf(text: string): readonly Endpoint[] {
  const found: Endpoint[] = [];
  for (const line of text.split("\n")) {
    const address = /^nameserver[ \t]+(\S+)/.exec(line)?.[1];
    const ip = address === undefined ? undefined : parseIp(address);
    if (ip !== undefined) found.push({ ip, port: DNS_PORT });
  }
  return found;
}

/** Whether a datagram to `to` arrives at `listener`. The unspecified address means this host. */
function leadsTo(to: Endpoint, listener: Endpoint): boolean {
  if (to.port !== listener.port) return false;
  const isHere = to.ip === UNSPECIFIED_IP || to.ip === "::";
  return to.ip === listener.ip || (isHere && isLoopback(listener.ip));
}
