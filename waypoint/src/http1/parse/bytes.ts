// Pure. Which bytes may stand where in an HTTP/1.1 message: one table of 256 entries for each production, so that the
// scanner checks a byte with one load. 1 is allowed, 0 is not.

function table(allowed: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (allowed(byte) ? 1 : 0));
}

function among(characters: string): (byte: number) => boolean {
  return (byte) => byte < 0x80 && characters.includes(String.fromCharCode(byte));
}

const UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER = "abcdefghijklmnopqrstuvwxyz";
const DIGITS = "0123456789";

/** `tchar` of RFC 9110 section 5.6.2: names of fields. */
export const TOKEN = table(among(`${UPPER}${LOWER}${DIGITS}!#$%&'*+-.^_\`|~`));

/** `field-vchar`, SP and HTAB of RFC 9110 section 5.5: no control byte, so neither NUL nor a bare CR or LF. */
export const VALUE = table((byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f));

/** Methods: the registered ones are upper-case letters and hyphens; a lower-case `get` is somebody's trick. */
export const METHOD = table(among(`${UPPER}-`));

/** A request target as it may come in: visible ASCII; what it means is for the canonicalizer to say. */
export const TARGET = table((byte) => byte >= 0x21 && byte <= 0x7e);

/** A host with port: reg-name without percent-encoding, IPv4, bracketed IPv6. No userinfo, no list. */
export const HOST = table(among(`${UPPER}${LOWER}${DIGITS}-._~:[]`));

/** Value of a hexadecimal digit, 255 for any other byte. */
export const HEX = Uint8Array.from({ length: 256 }, (_, byte) => {
  const digit = "0123456789abcdef".indexOf(String.fromCharCode(byte).toLowerCase());
  return byte < 0x80 && digit >= 0 ? digit : 255;
});

export const CR = 0x0d;
export const LF = 0x0a;
export const SP = 0x20;
export const HTAB = 0x09;
export const COLON = 0x3a;
export const COMMA = 0x2c;
export const SEMICOLON = 0x3b;
export const SLASH = 0x2f;
export const HYPHEN = 0x2d;
export const UNDERSCORE = 0x5f;

/** The byte at `index`, which the caller has checked to be inside. */
export function at(bytes: Uint8Array, index: number): number {
  return bytes[index] as number;
}
