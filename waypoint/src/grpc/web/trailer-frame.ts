// Pure. Trailers as the last frame of a gRPC-Web body (gRPC-Web "Message framing"): a flag, their length, and their lines.

const PREFIX = 5;
/** Tells trailers from messages. */
const TRAILERS = 0x80;

/** The frame of these field lines, names in lower case as the protocol wants them. */
export function trailerFrame(trailers: string): Buffer {
  const lines = trailers.replaceAll(/(?:^|(?<=\n))[^:\n]+:/g, (name) => name.toLowerCase());
  const frame = Buffer.allocUnsafe(PREFIX + lines.length);
  frame[0] = TRAILERS;
  frame.writeUInt32BE(lines.length, 1);
  frame.write(lines, PREFIX, "latin1");
  return frame;
}
