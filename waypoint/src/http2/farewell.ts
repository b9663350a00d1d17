// Machine. The end of a connection whose HTTP/2 session is over: the runtime ends our direction and waits for the other side, which may
// never do the same.
import type { Duplex } from "node:stream";
import type { ByteChannel } from "../channel/channel.ts";
import { ChannelError } from "../channel/channel-duplex.ts";
import { fail } from "@culvert/shared/failure/failure.ts";
import type { Http2Shared } from "./shared-state.ts";

/** How often a session that is over is looked at, in milliseconds. */
export const FAREWELL_TICK_MS = 1_000;

/** See the head of the file. */
export class Farewell {
  readonly #channel: ByteChannel;
  readonly #duplex: Duplex;
  readonly #shared: Http2Shared;
  #since: number | undefined = undefined;

  constructor(channel: ByteChannel, duplex: Duplex, shared: Http2Shared) {
    this.#channel = channel;
    this.#duplex = duplex;
    this.#shared = shared;
  }

  /**
   * The session is over and its connection is not. The other side gets time to read our GOAWAY: of what it sends meanwhile nothing is
   * taken, and to end the connection would answer that with a reset, which takes from the other side what it has not read. Who still reads
   * what we have written gets longer.
   */
  tick(): void {
    const { deadlines, messages } = this.#shared;
    this.#since ??= deadlines.now;
    const passed = deadlines.now - this.#since;
    if (this.#channel.queued === 0) {
      if (passed >= messages.lingerMs) this.#duplex.destroy();
    } else if (passed > messages.progressMs) {
      this.#duplex.destroy(new ChannelError(fail("REQUEST_TIMEOUT", "response not read")));
    }
  }
}
