// Pure. How HTTP/2 counts the size of header lists (RFC 9113 section 6.5.2).

/** What a field counts beside the octets of its name and value. */
export const FIELD_OVERHEAD = 32;

/** The size of a list of names and values in turn, in bytes. Who reads the list anyway counts as it goes. */
export function headerListSize(list: readonly string[]): number {
  let bytes = (list.length / 2) * FIELD_OVERHEAD;
  for (const text of list) bytes += text.length;
  return bytes;
}
