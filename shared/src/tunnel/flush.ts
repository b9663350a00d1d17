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
 * As much as is gathered before it is written without waiting for the end of the turn: at 64 KiB the receiving side took up to
 * 1.4 times the CPU, at more than this nothing was gained.
 */
const GATHER_BYTES = 256 * 1024;
/** With more than this left over by the kernel the other side reads too slowly to go on. */
const PAUSE_BYTES = 64 * 1024;

const gathering: Gatherer[] = [];

/** The writer toward one socket. */
export class Gatherer {
  readonly #socket: Socket;
  #gathered = 0;
  #listed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /**
   * Writes now or at the end of this turn. `false` when the kernel takes no more for now: write again after 'drain'. What the
   * socket then holds is at most `GATHER_BYTES` and a chunk.
   */
  write(chunk: Buffer): boolean {
    const socket = this.#socket;
    processMemory.received(chunk.length);
    if (this.#gathered === 0) {
      if (chunk.length < SMALL_CHUNK || socket.writableLength > PAUSE_BYTES) {
        socket.write(chunk);
        return socket.writableLength <= PAUSE_BYTES;
      }
      socket.cork();
      if (!this.#listed) {
        this.#listed = true;
        if (gathering.push(this) === 1) setImmediate(flushAll);
      }
    }
    this.#gathered += chunk.length;
    socket.write(chunk);
    if (this.#gathered < GATHER_BYTES) return true;
    this.flush();
    return socket.writableLength <= PAUSE_BYTES;
  }

  /** Writes what was gathered. To be called before the socket ends. */
  flush(): void {
    if (this.#gathered === 0) return;
    this.#gathered = 0;
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
