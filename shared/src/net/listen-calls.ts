// Machine. Two things that the kernel does for a listening socket and the runtime does not offer, by `node:ffi`: to leave its
// connections in the queue for a while, and to let the process that listens beside us have the new ones. Linux only. The
// library is looked up at the first call: a process that is never short of descriptors and never drains loads none of it.

const EPOLL_CTL_MOD = 3;
const EPOLLIN = 1;
const SOL_SOCKET = 1;
const SO_ATTACH_REUSEPORT_CBPF = 51;
/** "Return this constant": the whole program, in the classic instruction set that needs no privilege. */
const BPF_RET_CONSTANT = 0x06;
const INSTRUCTION_BYTES = 8;
const PROGRAM_BYTES = 16;

/** The calls; what cannot be done answers `false`. */
export interface ListenCalls {
  /** Whether the event loop looks at the socket. While it does not, the kernel goes on making connections, up to the backlog. */
  watch(descriptor: number, on: boolean): boolean;
  /**
   * New connections to the port go to the socket that joined it as number `index` from 0; while there is none, to any, as
   * before. Those that are in a queue already stay where they are.
   */
  steer(descriptor: number, index: number): boolean;
}

/** The calls of this system; `undefined` where there are none, or the runtime may not call into the C library. */
export function findListenCalls(): ListenCalls | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    const ffi = process.getBuiltinModule("node:ffi");
    const library = new ffi.DynamicLibrary(null);
    const i32 = "i32";
    const control = library.getFunction("epoll_ctl", { arguments: [i32, i32, i32, "pointer"], return: i32 });
    const setsockopt = library.getFunction("setsockopt", { arguments: [i32, i32, i32, "pointer", "u32"], return: i32 });
    const loop = library.getFunction("uv_default_loop", { arguments: [], return: "pointer" });
    const backend = library.getFunction("uv_backend_fd", { arguments: ["pointer"], return: i32 });
    const poller = backend(loop());
    const event = Buffer.alloc(16);
    const instruction = Buffer.alloc(INSTRUCTION_BYTES);
    const program = Buffer.alloc(PROGRAM_BYTES);
    return {
      watch(descriptor, on) {
        event.writeUInt32LE(on ? EPOLLIN : 0, 0);
        // The structure is packed on x86-64 and nowhere else.
        event.writeInt32LE(descriptor, process.arch === "x64" ? 4 : 8);
        return control(poller, EPOLL_CTL_MOD, descriptor, ffi.getRawPointer(event)) === 0;
      },
      steer(descriptor, index) {
        instruction.writeUInt16LE(BPF_RET_CONSTANT, 0);
        instruction.writeUInt32LE(index, 4);
        program.writeUInt16LE(1, 0);
        program.writeBigUInt64LE(ffi.getRawPointer(instruction), 8);
        const at = ffi.getRawPointer(program);
        return setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, at, PROGRAM_BYTES) === 0;
      },
    };
  } catch {
    return undefined;
  }
}
