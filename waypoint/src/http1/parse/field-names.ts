// Pure. The field names that the codec itself acts upon, told from all others by length and first byte.
import { HYPHEN, UNDERSCORE, at } from "./bytes.ts";

/** Any name that is not listed here. */
export const OTHER = 0;
export const HOST_FIELD = 1;
export const CONTENT_LENGTH = 2;
export const TRANSFER_ENCODING = 3;
export const CONNECTION = 4;
export const KEEP_ALIVE = 5;
export const PROXY_CONNECTION = 6;
export const TE = 7;
export const UPGRADE = 8;
const HTTP2_SETTINGS = 9;
export const EXPECT = 10;
export const X_FORWARDED_FOR = 11;
export const X_FORWARDED_CLIENT_CERT = 12;
export const X_REQUEST_ID = 13;
export const X_CULVERT_VIA = 14;
/**
 * A name that only differs from one of ours, or from a framing field, by underscores for hyphens. Applications that turn
 * names into variables (CGI, WSGI) read both as the same, so it never passes (reliability of `x-forwarded-client-cert`).
 */
export const DISGUISED = 15;

const encoded = (name: string): Uint8Array => Buffer.from(name, "latin1");
const NAME_TE = encoded("te");
const NAME_HOST = encoded("host");
const NAME_EXPECT = encoded("expect");
const NAME_UPGRADE = encoded("upgrade");
const NAME_CONNECTION = encoded("connection");
const NAME_KEEP_ALIVE = encoded("keep-alive");
const NAME_X_REQUEST_ID = encoded("x-request-id");
const NAME_X_CULVERT_VIA = encoded("x-culvert-via");
const NAME_CONTENT_LENGTH = encoded("content-length");
const NAME_HTTP2_SETTINGS = encoded("http2-settings");
const NAME_X_FORWARDED_FOR = encoded("x-forwarded-for");
const NAME_PROXY_CONNECTION = encoded("proxy-connection");
const NAME_TRANSFER_ENCODING = encoded("transfer-encoding");
const NAME_X_FORWARDED_CLIENT_CERT = encoded("x-forwarded-client-cert");

/** `field` when the name at `start` is `name` in any case, `DISGUISED` when underscores stand for hyphens, else `OTHER`. */
function confirm(head: Uint8Array, start: number, name: Uint8Array, field: number): number {
  let result = field;
  for (let i = 0; i < name.length; i += 1) {
    const wanted = at(name, i);
    const found = at(head, start + i);
    if (found === wanted) continue;
    if (wanted === HYPHEN && found === UNDERSCORE) result = DISGUISED;
    // Only letters may differ in case: `| 0x20` would also make a hyphen of a carriage return.
    else if (wanted < 0x61 || wanted > 0x7a || (found | 0x20) !== wanted) return OTHER;
  }
  return result;
}

/** Which of the names above stands at `start`, `length` bytes long. */
export function knownField(head: Uint8Array, start: number, length: number): number {
  const first = at(head, start) | 0x20;
  switch (length) {
    case 2:
      return first === 0x74 ? confirm(head, start, NAME_TE, TE) : OTHER;
    case 4:
      return first === 0x68 ? confirm(head, start, NAME_HOST, HOST_FIELD) : OTHER;
    case 6:
      return first === 0x65 ? confirm(head, start, NAME_EXPECT, EXPECT) : OTHER;
    case 7:
      return first === 0x75 ? confirm(head, start, NAME_UPGRADE, UPGRADE) : OTHER;
    case 10:
      if (first === 0x63) return confirm(head, start, NAME_CONNECTION, CONNECTION);
      return first === 0x6b ? confirm(head, start, NAME_KEEP_ALIVE, KEEP_ALIVE) : OTHER;
    case 12:
      return first === 0x78 ? confirm(head, start, NAME_X_REQUEST_ID, X_REQUEST_ID) : OTHER;
    case 13:
      return first === 0x78 ? confirm(head, start, NAME_X_CULVERT_VIA, X_CULVERT_VIA) : OTHER;
    case 14:
      if (first === 0x63) return confirm(head, start, NAME_CONTENT_LENGTH, CONTENT_LENGTH);
      return first === 0x68 ? confirm(head, start, NAME_HTTP2_SETTINGS, HTTP2_SETTINGS) : OTHER;
    case 15:
      return first === 0x78 ? confirm(head, start, NAME_X_FORWARDED_FOR, X_FORWARDED_FOR) : OTHER;
    case 16:
      return first === 0x70 ? confirm(head, start, NAME_PROXY_CONNECTION, PROXY_CONNECTION) : OTHER;
    case 17:
      return first === 0x74 ? confirm(head, start, NAME_TRANSFER_ENCODING, TRANSFER_ENCODING) : OTHER;
    case 23:
      return first === 0x78 ? confirm(head, start, NAME_X_FORWARDED_CLIENT_CERT, X_FORWARDED_CLIENT_CERT) : OTHER;
    default:
      return OTHER;
  }
}
