// Pure. The messages of the gRPC method that echo servers have, EchoRequest and EchoResponse: each is one text, in field 1.

/** The message of a text. */
export function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  const length: number[] = [];
  for (let left = bytes.length; ; left >>>= 7) {
    length.push(left > 127 ? (left & 127) | 128 : left);
    if (left <= 127) break;
  }
  return Buffer.concat([Buffer.from([0x0a, ...length]), bytes]);
}

/** The text of a message. */
export function decodeText(message: Buffer): string {
  if (message.length === 0) return "";
  if (message[0] !== 0x0a) throw new Error(`no text in ${message.toString("hex")}`);
  let length = 0;
  let at = 1;
  for (let shift = 0; ; shift += 7) {
    const byte = message[at++] ?? 0;
    length |= (byte & 127) << shift;
    if (byte < 128) break;
  }
  return message.toString("utf8", at, at + length);
}
