// Types. How the end of a message body is known, whatever version of HTTP carries it.

/** There is none. */
export const NO_BODY = 0;
/** A length was announced. */
export const LENGTH = 1;
/** The end is told when it comes: by the last chunk, by END_STREAM. */
export const CHUNKED = 2;
/** Responses of HTTP/1 only: up to the end of the connection. */
export const UNTIL_CLOSE = 3;

export type BodyKind = typeof NO_BODY | typeof LENGTH | typeof CHUNKED | typeof UNTIL_CLOSE;
