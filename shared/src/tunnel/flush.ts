// Machine. Gathers what goes to TCP sockets in one turn of the event loop and writes it once.
//
// TLS hands out one record of 16 KiB at a time. Written one by one each of them is a system call and a wake-up of the
// reader, which cost more than the encryption; a turn's worth in one `writev` halves the CPU of the receiving side.
// `setImmediate` is the right moment: `nextTick` runs between two records of the same read and gathers nothing.
import type { Socket } from "node:net";
import { processMemory } from "../net/memory.ts";

/** Chunks below this are somebody's request or answer: they are written at once, for latency. */
const SMALL_CHUNK = 8 * 1024;
/**
 * As much as a socket may hold: so much is gathered before it is written without waiting for the end of the turn, and with so
 * much left over by the kernel the reader is waited for. With 64 KiB the receiving side took up to 1.4 times the CPU.
 */
const HELD_BYTES = 256 * 1024;

const gathering: Gatherer[] = [];

/** The writer toward one socket. */
export class Gatherer {
  readonly #socket: Socket;
  #corked = false;
  #listed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Writes now or at the end of this turn. `false` when the socket holds its fill: write again after 'drain'. */
  write(chunk: Buffer): boolean {
    const socket = this.#socket;
    processMemory.received(chunk.length);
    if (!this.#corked) {
      if (chunk.length < SMALL_CHUNK) {
        socket.write(chunk);
        return socket.writableLength < HELD_BYTES;
      }
      this.#corked = true;
      socket.cork();
      if (!this.#listed) {
        this.#listed = true;
        if (gathering.push(this) === 1) setImmediate(flushAll);
      }
    }
    socket.write(chunk);
    if (socket.writableLength < HELD_BYTES) return true;
    this.flush();
    return socket.writableLength < HELD_BYTES;
  }

  /** Writes what was gathered. To be called before the socket ends. */
  flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }

  /** Called once a turn by this file's list. */
  endTurn(): void {
    this.#listed = false;
    this.flush();
  }
}

function flushAll(): void {
  // The list is emptied first: a flush that leads to a new write asks for a new turn.
  for (const gatherer of gathering.splice(0)) gatherer.endTurn();
}
