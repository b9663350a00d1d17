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
/**
 * So many small chunks may wait for the kernel, however few their bytes: each costs two hundred bytes beside them, and keeps the read
 * alive that it came in. Where the reader keeps up, none waits.
 */
const SMALL_HELD = 512;

const gathering: Gatherer[] = [];

/** The writer toward one socket. */
export class Gatherer {
  readonly #socket: Socket;
  readonly #onRoom: () => void;
  #corked = false;
  #listed = false;
  #small = 0;

  /** `onRoom` is called when there is room again after a `write` that said no; more than once, it may be. */
  constructor(socket: Socket, onRoom: () => void) {
    this.#socket = socket;
    this.#onRoom = onRoom;
    socket.on("drain", onRoom);
  }

  /** Writes now or at the end of this turn. `false` when the socket holds its fill: write again after `onRoom`. */
  write(chunk: Buffer): boolean {
    const socket = this.#socket;
    processMemory.received(chunk.length);
    if (chunk.length < SMALL_CHUNK) {
      if (socket.writableLength === 0) this.#small = 0;
      else if (++this.#small >= SMALL_HELD) return this.#writeLastSmall(chunk);
    }
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

  /** Too many wait: the runtime tells of room only where bytes were too many. */
  #writeLastSmall(chunk: Buffer): boolean {
    this.#small = 0;
    this.#socket.write(chunk, this.#onRoom);
    this.flush();
    return false;
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
