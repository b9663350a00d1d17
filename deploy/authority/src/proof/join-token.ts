// Pure. Join tokens: what they look like, and what of them is kept. `culvert-join.<id>.<secret>`: by its id a token is listed and
// revoked, its secret is known to nobody but its holder.
import { hash, randomBytes, timingSafeEqual } from "node:crypto";

/** The two parts of a token. */
export interface JoinToken {
  /** Not secret. */
  readonly id: string;
  readonly secret: string;
}

const PREFIX = "culvert-join.";
const ID_BYTES = 8;
/**
 * 256 random bits. Nobody can guess them or try a dictionary of them, so that one SHA-256 hides them as well as a slow,
 * salted hash would, and costs a caller without a token nothing that is worth attacking.
 */
const SECRET_BYTES = 32;
const FORM = /^culvert-join\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})$/;

/** A new token. */
export function newJoinToken(): JoinToken {
  return { id: randomBytes(ID_BYTES).toString("hex"), secret: randomBytes(SECRET_BYTES).toString("base64url") };
}

/** A token as it is handed over. */
export function formatJoinToken({ id, secret }: JoinToken): string {
  return `${PREFIX}${id}.${secret}`;
}

/** Whether a bearer token wants to be a join token, and not a JWT. */
export function looksLikeJoinToken(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** Reads a token; undefined for whatever is not one. */
export function parseJoinToken(text: string): JoinToken | undefined {
  const [, id, secret] = FORM.exec(text) ?? [];
  return id === undefined || secret === undefined ? undefined : { id, secret };
}

/** Whether a text is the id of a token, which then is safe as a file name. */
export function isJoinTokenId(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text);
}

/** What is kept of a secret: SHA-256, hex. */
export function hashOfSecret(secret: string): string {
  return hash("sha256", secret);
}

/** Whether a secret is the one of which `kept` is the hash. */
export function isSecretOf(kept: string, secret: string): boolean {
  const one = Buffer.from(kept);
  const other = Buffer.from(hashOfSecret(secret));
  return one.length === other.length && timingSafeEqual(one, other);
}
